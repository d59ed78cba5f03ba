//! Packets written byte by byte, by nobody's codec.

/// A packet: first byte, remaining length, body.
pub fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut bytes = vec![first];
    bytes.extend(var_int(body.len()));
    bytes.extend(body);
    bytes
}

/// Properties with their length before them.
pub fn props(props: &[&[u8]]) -> Vec<u8> {
    let props = props.concat();
    let mut bytes = var_int(props.len());
    bytes.extend(props);
    bytes
}

/// A length-prefixed string, or binary data.
pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text);
    bytes
}

/// A property whose value is a string.
pub fn text_prop(id: u8, text: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![id], string(text)].concat()
}

pub fn user_prop(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0x26], string(key), string(value)].concat()
}

pub fn var_int(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (n % 128) as u8;
        n /= 128;
        if n == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

const TOPIC: &str = "v1/dev/lamp-1/up/climate/temp";

pub fn publish_v4(payload: usize) -> Vec<u8> {
    packet(0x32, &[&string(TOPIC), &[0, 7], &vec![b'x'; payload]])
}

/// With three user properties.
pub fn publish_v5(payload: usize) -> Vec<u8> {
    let props = props(&[
        &user_prop("id", "0190163d-8694-739b"),
        &user_prop("time", "2026-11-23T00:02:03Z"),
        &user_prop("type", "temperature"),
    ]);
    packet(0x32, &[&string(TOPIC), &[0, 7], &props, &vec![b'x'; payload]])
}

pub fn puback() -> Vec<u8> {
    packet(0x40, &[&[0, 7]])
}
