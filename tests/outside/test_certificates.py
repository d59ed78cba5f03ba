"""Issue of the edge: devices log in with certificates, and certificates change under live connections."""

import contextlib
import shutil
import ssl
import tempfile
import unittest
from pathlib import Path

from . import mosquitto
from .authority import DAY, Authority
from .mqtt import V5, V311, Client
from .scrape import Scrape
from .story import Story
from .waiting import until

BAD_USER_NAME_OR_PASSWORD = 0x86
BAD_USER_NAME_OR_PASSWORD_V311 = 4
NOT_AUTHORIZED = 0x87
SESSION_TAKEN_OVER = 0x8E


@unittest.skipUnless(shutil.which("openssl"), "needs openssl")
class Certificates(Story):
    """A factory signs the devices' certificates; what it revokes stands in a list."""

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="irsp-authorities-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.factory, cls.stranger = Authority(cls.folder, "factory"), Authority(cls.folder, "stranger")
        cls.server = Authority(cls.folder, "server")
        cls.devices_ca, cls.crl = cls.folder / "devices.crt", cls.folder / "revoked.crl"
        cls.devices_ca.write_text(cls.factory.pem)
        cls.crl.write_text(cls.factory.list())
        cls.settings = (f"tls.client_ca={cls.devices_ca}", f"tls.client_crl={cls.crl}", *cls.more_settings())
        super().setUpClass()

    @classmethod
    def more_settings(cls):
        return ()

    def with_certificate(self, certificate, username=None, password=None, **options):
        """A client that shows a certificate, not yet connected; gone when the story ends."""
        client = Client(self.platform, username, password, over="tls", certificate=certificate, **options)
        self.addCleanup(client.vanish)
        return client

    def registered(self, *certificates, **options):
        """A device with these certificates."""
        return self.a_device(certificates=[{"pem": certificate.pem} for certificate in certificates], **options)

    def metric(self, name, **labels):
        return Scrape(self.platform.anybody().url).sum(name, **labels)

    @contextlib.contextmanager
    def reloaded(self):
        """Around a change of the files: sends SIGHUP after it and waits until it has been taken over."""
        before = self.metric("irsp_edge_tls_reloads_total", result="done")
        yield
        self.platform.reload()
        until(lambda: self.metric("irsp_edge_tls_reloads_total", result="done") > before, "the files are read anew")

    def put(self, path, text):
        with self.reloaded():
            path.write_text(text)

    def refused_in_the_handshake(self, certificate):
        """Whether the server refuses the certificate before MQTT, with an alert, and counts it."""
        before = self.metric("irsp_edge_refused_total", reason="certificate")
        client = self.with_certificate(certificate)
        with self.assertRaises((ssl.SSLError, ConnectionError, AssertionError)):
            client.open()
        self.assertIsNone(client.connack)
        until(
            lambda: self.metric("irsp_edge_refused_total", reason="certificate") > before, "the refusal is counted"
        )


class Logins(Certificates):
    def test_mosquitto_pub_with_a_certificate_and_nothing_else(self):
        lamp = self.factory.issues("lamp")
        device, app = self.registered(lamp), self.an_application()
        topic, expected = device.topic(f"up/{app.id}/temp"), 0
        crt, key = lamp.files
        for version in ("311", "5"):
            for tls in ("tlsv1.2", "tlsv1.3"):
                for username in (None, device.username):
                    with self.subTest(version=version, tls=tls, username=username):
                        code, said = mosquitto.publish(
                            self.platform, username, None, topic, expected, "tls", version,
                            more=("--cert", crt, "--key", key, "--tls-version", tls),
                        )
                        self.assertEqual(code, 0, said)
                        expected += 1
        self.assertEqual([upload["data"] for upload in self.stored(app, expected)], list(range(expected)))

    def test_paho_with_a_certificate(self):
        lamp = self.factory.issues("lamp")
        device = self.registered(lamp)
        for version in (V311, V5):
            for username, password in ((None, None), (device.username, None), (device.username, "")):
                for tls in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                    if version == V311 and password is None and username is not None:
                        continue  # paho's 3.1.1 sends no username without a password
                    with self.subTest(version=version, username=username, password=password, tls=tls):
                        client = self.with_certificate(
                            lamp, username, password, version=version, tls_version=tls
                        ).open()
                        self.assertEqual(client.subscribe(device.topic("status"))[0], 1)
                        client.leave()

    def test_codes_and_certificates_open_side_by_side(self):
        first, second = self.factory.issues("lamp"), self.factory.issues("lamp")
        device = self.registered(first, second)
        clients = [self.connected(device)]
        for certificate in (first, second):
            clients.append(self.with_certificate(certificate).open())
            self.assertEqual(clients[-2].wait_closed(), SESSION_TAKEN_OVER)
        # A password counts for more than the certificate beside it, so it has to be right.
        self.with_certificate(first, device.username, device.code).open().leave()
        wrong = self.with_certificate(first, device.username, "wrong")
        self.assertEqual(wrong.connect(), BAD_USER_NAME_OR_PASSWORD)

    def test_a_certificate_that_is_taken_back_ends_its_session_and_no_other(self):
        first, second = self.factory.issues("lamp"), self.factory.issues("lamp")
        device = self.registered(first, second)
        client = self.with_certificate(second).open()
        kept = {"certificates": [{"pem": second.pem}]}
        changed = self.admin.patch(f"/v1/devices/{device.id}", kept)
        self.assertEqual((changed.code, changed["in_effect"]), (200, True))
        self.assertEqual(client.publish(device.topic("live/x"), "still here"), 0)
        self.assertEqual(self.with_certificate(first).connect(), BAD_USER_NAME_OR_PASSWORD)
        changed = self.admin.patch(f"/v1/devices/{device.id}", {"certificates": []})
        self.assertEqual((changed.code, changed["in_effect"]), (200, True))
        self.assertEqual(client.wait_closed(), NOT_AUTHORIZED)
        self.assertEqual(self.with_certificate(second).connect(), BAD_USER_NAME_OR_PASSWORD)
        self.connected(device)

    def test_a_certificate_stands_for_one_device_and_can_move(self):
        certificate = self.factory.issues("lamp")
        old, new = self.registered(certificate), self.a_device()
        form = {"certificates": [{"pem": certificate.pem}]}
        self.assertEqual(self.admin.patch(f"/v1/devices/{new.id}", form).code, 409)
        client = self.with_certificate(certificate).open()
        self.assertEqual(self.admin.patch(f"/v1/devices/{old.id}", {"certificates": []}).code, 200)
        self.assertEqual(client.wait_closed(), NOT_AUTHORIZED)
        self.assertEqual(self.admin.patch(f"/v1/devices/{new.id}", form).code, 200)
        self.assertEqual(self.with_certificate(certificate, old.username).connect(), BAD_USER_NAME_OR_PASSWORD)
        moved = self.with_certificate(certificate).open()
        self.assertEqual(moved.subscribe(new.topic("status"), old.topic("status")), [1, NOT_AUTHORIZED])
        self.presence(new, state="online")

    def test_a_deleted_or_disabled_device_is_out_with_its_certificate(self):
        first, second = self.factory.issues("lamp"), self.factory.issues("lamp")
        gone, disabled = self.registered(first), self.registered(second)
        clients = [self.with_certificate(certificate).open() for certificate in (first, second)]
        self.assertEqual(self.admin.delete(f"/v1/devices/{gone.id}").code, 200)
        self.assertEqual(self.admin.patch(f"/v1/devices/{disabled.id}", {"disabled": True}).code, 200)
        self.assertEqual([client.wait_closed() for client in clients], [NOT_AUTHORIZED] * 2)
        self.assertEqual(self.with_certificate(first).connect(), BAD_USER_NAME_OR_PASSWORD)
        self.assertEqual(self.with_certificate(second).connect(), NOT_AUTHORIZED)

    def test_an_authority_and_a_name_are_a_certificate_too(self):
        device = self.a_device(certificates=[{"ca": self.factory.pem, "name": "lamp-of-the-hall"}])
        for _ in range(2):
            renewed = self.factory.issues("lamp-of-the-hall")
            self.with_certificate(renewed, device.username).open().leave()
        self.assertEqual(self.with_certificate(self.factory.issues("other")).connect(), BAD_USER_NAME_OR_PASSWORD)

    def test_one_that_is_not_registered_is_refused_with_the_code(self):
        certificate, device = self.factory.issues("nobody"), self.a_device()
        before = self.metric("irsp_edge_logins_refused_total", code="401")
        self.assertEqual(self.with_certificate(certificate).connect(), BAD_USER_NAME_OR_PASSWORD)
        self.assertEqual(self.with_certificate(certificate, device.username).connect(), BAD_USER_NAME_OR_PASSWORD)
        v311 = self.with_certificate(certificate, version=V311)
        # paho numbers a return code of 3.1.1 as MQTT 5 does
        self.assertIn(v311.connect(), (BAD_USER_NAME_OR_PASSWORD, BAD_USER_NAME_OR_PASSWORD_V311))
        self.assertEqual(self.metric("irsp_edge_logins_refused_total", code="401") - before, 3)

    def test_one_that_is_expired_early_or_of_another_authority_fails_the_handshake(self):
        wrong = {
            "expired": self.factory.issues("lamp", begins=-3 * DAY, ends=-DAY),
            "not yet": self.factory.issues("lamp", begins=DAY),
            "stranger": self.stranger.issues("lamp"),
            "server's": self.factory.issues("lamp", kind="server"),
        }
        self.registered(*wrong.values())
        for name, certificate in wrong.items():
            with self.subTest(name):
                self.refused_in_the_handshake(certificate)

    def test_a_devices_certificate_makes_no_server_and_no_user(self):
        certificate, user = self.factory.issues("lamp"), self.a_user()
        self.registered(certificate)
        for username in ("srv/app", "srv/account", user.username, "app/climate"):
            with self.subTest(username=username):
                self.assertEqual(self.with_certificate(certificate, username).connect(), BAD_USER_NAME_OR_PASSWORD)
        for over in ("tcp", "tls"):
            client = Client(self.platform, "srv/app", "secret", over=over)
            self.addCleanup(client.vanish)
            self.assertEqual(client.connect(), BAD_USER_NAME_OR_PASSWORD)


class Changes(Certificates):
    """What is read again while connections go on. The server's own certificate is a file of ours here."""

    @classmethod
    def more_settings(cls):
        cls.crt, cls.key = cls.folder / "server.crt", cls.folder / "server.key"
        cls.serve(cls.server.issues("localhost", kind="server"))
        return f"tls.ca={cls.server.crt}", f"tls.cert={cls.crt}", f"tls.key={cls.key}"

    @classmethod
    def serve(cls, issued):
        cls.crt.write_text(issued.pem)
        cls.key.write_text(issued.key.read_text())

    def setUp(self):
        super().setUp()
        self.ca = self.server.crt

    def with_certificate(self, certificate, username=None, password=None, **options):
        client = Client(
            self.platform, username, password, over="tls", certificate=certificate, ca=self.ca, **options
        )
        self.addCleanup(client.vanish)
        return client

    def shown(self):
        """The certificate that a new connection is shown."""
        return ssl.get_server_certificate(self.platform.tls)

    def test_a_revocation_list_ends_whom_it_names_and_nobody_else(self):
        lamp, fan = self.factory.issues("lamp"), self.factory.issues("fan")
        self.registered(lamp)
        other, by_code = self.registered(fan), self.a_device()
        revoked = self.with_certificate(lamp).open()
        kept = self.with_certificate(fan).open()
        with_code = self.with_certificate(None, by_code.username, by_code.code).open()
        self.factory.revokes(lamp)
        self.put(self.crl, self.factory.list())
        self.assertEqual(revoked.wait_closed(), NOT_AUTHORIZED)
        self.refused_in_the_handshake(lamp)
        self.assertEqual(kept.publish(other.topic("live/x"), "still here"), 0)
        self.assertEqual(with_code.publish(by_code.topic("live/x"), "still here"), 0)
        self.with_certificate(fan).open()

    def test_a_new_authority_counts_and_an_old_one_that_is_gone_does_not(self):
        second = Authority(self.folder, "second")
        self.addCleanup(self.put, self.devices_ca, self.factory.pem)
        lamp, fan = self.factory.issues("lamp"), second.issues("fan")
        device = self.registered(lamp, fan)
        client = self.with_certificate(lamp).open()
        self.refused_in_the_handshake(fan)
        self.put(self.devices_ca, second.pem)
        self.refused_in_the_handshake(lamp)
        self.assertEqual(client.publish(device.topic("live/x"), "still here"), 0)
        self.with_certificate(fan).open()
        self.assertEqual(client.wait_closed(), SESSION_TAKEN_OVER)

    def test_the_servers_certificate_is_renewed_under_a_connection(self):
        device = self.a_device()
        client = self.with_certificate(None, device.username, device.code).open()
        before = self.shown()
        with self.reloaded():
            self.serve(self.server.issues("localhost", kind="server"))
        self.assertNotEqual(self.shown(), before)
        self.assertEqual(client.publish(device.topic("live/x"), "still here"), 0)
        self.with_certificate(None, device.username, device.code).open()

    def test_files_that_change_are_found_without_a_signal(self):
        before = self.shown()
        self.serve(self.server.issues("localhost", kind="server"))
        until(lambda: self.shown() != before, "the new certificate is shown", within=60)

    def test_files_that_do_not_serve_change_nothing(self):
        before, failed = self.shown(), self.metric("irsp_edge_tls_reloads_total", result="failed")
        good = self.crt.read_text()
        self.crt.write_text("no certificate")
        self.addCleanup(self.put, self.crt, good)
        self.platform.reload()
        until(
            lambda: self.metric("irsp_edge_tls_reloads_total", result="failed") > failed, "the failure is counted"
        )
        self.assertEqual(self.shown(), before)
        device = self.a_device()
        self.with_certificate(None, device.username, device.code).open()
