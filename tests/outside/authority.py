"""An authority that signs certificates of clients and servers and revokes them, made with `openssl ca`."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

DAY = 86_400
CONFIGURATION = """
[ca]
default_ca = here
[here]
database = {folder}/index.txt
serial = {folder}/serial
crlnumber = {folder}/crlnumber
new_certs_dir = {folder}
certificate = {folder}/ca.crt
private_key = {folder}/ca.key
default_md = sha256
default_crl_days = 10
policy = any
unique_subject = no
rand_serial = yes
[any]
commonName = supplied
[client]
basicConstraints = CA:FALSE
extendedKeyUsage = clientAuth
[server]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1
"""


@dataclass(frozen=True)
class Issued:
    """The files of a certificate and its key."""

    crt: Path
    key: Path

    @property
    def pem(self):
        return self.crt.read_text()

    @property
    def files(self):
        return str(self.crt), str(self.key)


class Authority:
    def __init__(self, folder, name):
        self.folder, self.count = Path(folder) / name, 0
        self.folder.mkdir()
        self.crt = self.folder / "ca.crt"
        (self.folder / "index.txt").touch()
        (self.folder / "crlnumber").write_text("01\n")
        self.configuration = self.folder / "openssl.cnf"
        self.configuration.write_text(CONFIGURATION.format(folder=self.folder))
        words = ("-subj", f"/CN={name}", "-days", "10", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _openssl("req", "-x509", *_new_key(self.folder / "ca.key"), "-out", self.crt, *words)

    @property
    def pem(self):
        return self.crt.read_text()

    def issues(self, name, kind="client", begins=-DAY, ends=5 * DAY):
        """A certificate with this common name; when it begins and ends, in seconds from now."""
        self.count += 1
        request, crt, key = (self.folder / f"{self.count}.{part}" for part in ("csr", "crt", "key"))
        _openssl("req", *_new_key(key), "-out", request, "-subj", f"/CN={name}")
        span = ("-startdate", _moment(begins), "-enddate", _moment(ends))
        self._ca("-in", request, "-out", crt, "-notext", "-extensions", kind, *span)
        return Issued(crt, key)

    def revokes(self, issued):
        self._ca("-revoke", issued.crt)

    def list(self):
        """Its revocation list as PEM."""
        path = self.folder / "list.crl"
        self._ca("-gencrl", "-out", path)
        return path.read_text()

    def _ca(self, *words):
        _openssl("ca", "-batch", "-config", self.configuration, *words)


def _moment(from_now):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + from_now))


def _new_key(path):
    return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path


def _openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"openssl {' '.join(map(str, words))}: {done.stderr}")
