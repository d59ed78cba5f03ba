//! SUBSCRIBE and UNSUBSCRIBE (3.8 to 3.11).

use irsp_session::{Action, QoS, RetainHandling};

use crate::client::{Client, V5, V311, packet, string};

#[test]
fn options_arrive_and_suback_answers_each_filter() {
    let body = [
        &[0, 9, 2, 0x0B, 5][..],
        &string("a/+"),
        &[0x2D],
        &string("$share/g/#"),
        &[0],
    ]
    .concat();
    let mut client = Client::new(V5);
    client.send(&packet(0x82, &body));
    let Action::Subscribe {
        token,
        filters,
        subscription_id,
    } = client.action()
    else {
        panic!("no subscribe")
    };
    assert_eq!(subscription_id, Some(5));
    assert_eq!((&*filters[0].filter, filters[0].qos), ("a/+", QoS::AtLeastOnce));
    assert!(filters[0].no_local && filters[0].retain_as_published);
    assert_eq!(filters[0].retain_handling, RetainHandling::DoNotSend);
    assert_eq!(&*filters[1].filter, "$share/g/#");
    client.connection.subscribed(token, &[1, 0x87], None);
    assert_eq!(client.output(), [0x90, 5, 0, 9, 0, 1, 0x87]);
}

/// [MQTT-3.8.4-6]: one code for each filter, whatever the caller says.
#[test]
fn a_missing_reason_is_a_refusal() {
    let mut client = Client::new(V311);
    client.send(&packet(
        0x82,
        &[&[0, 9][..], &string("a"), &[1], &string("b"), &[2]].concat(),
    ));
    let Action::Subscribe { token, .. } = client.action() else {
        panic!("no subscribe")
    };
    client.connection.subscribed(token, &[1], None);
    assert_eq!(client.output(), [0x90, 4, 0, 9, 1, 0x80]);
}

/// MQTT 3 knows no shared subscriptions: what would be a malformed one is a filter, and answered [3.1.1: MQTT-3.8.4-1].
#[test]
fn what_only_looks_like_a_share_is_a_filter_in_mqtt_3() {
    for filter in ["$share", "$share/", "$share/g", "$share/#", "$share/+/x"] {
        let mut client = Client::new(V311);
        client.send(&packet(0x82, &[&[0, 9][..], &string(filter), &[1]].concat()));
        assert!(
            matches!(client.action(), Action::Subscribe { filters, .. } if *filters[0].filter == *filter),
            "{filter}"
        );
    }
}

#[test]
fn mqtt_3_knows_one_refusal() {
    let mut client = Client::new(V311);
    client.send(&packet(0x82, &[&[0, 9][..], &string("a"), &[1]].concat()));
    let Action::Subscribe { token, .. } = client.action() else {
        panic!("no subscribe")
    };
    client.connection.subscribed(token, &[0x87], None);
    assert_eq!(client.output(), [0x90, 3, 0, 9, 0x80]);
}

#[test]
fn unsubscribe() {
    for (level, properties, answer) in [
        (V311, &[][..], &[0xB0, 2, 0, 9][..]),
        (V5, &[0], &[0xB0, 5, 0, 9, 0, 0, 0x11]),
    ] {
        let mut client = Client::new(level);
        client.send(&packet(
            0xA2,
            &[&[0, 9][..], properties, &string("a"), &string("b")].concat(),
        ));
        let Action::Unsubscribe { token, filters } = client.action() else {
            panic!("no unsubscribe")
        };
        assert_eq!(filters, ["a", "b"]);
        client.connection.unsubscribed(token, &[0, 0x11]);
        assert_eq!(client.output(), answer);
    }
}
