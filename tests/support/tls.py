"""Certificates as people make them for Dask: without host names."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """An authority in a folder of its own, and one certificate that it signed, for all roles."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        key, certificate = self.make("authority", None)
        self.make("dask", (key, certificate))

    def make(self, name, issuer):
        """Make a key and its certificate, signed by the issuer or by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer[1].subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        )
        certificate = builder.sign(issuer[0] if issuer else key, hashes.SHA256())
        self.path(name, "key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        self.path(name, "crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return key, certificate

    def path(self, name, kind):
        """Where a key or a certificate is."""
        return self.folder / f"{name}.{kind}"

    def variables(self, folder=None):
        """Dask's configuration for all roles, where the files are in this folder."""
        folder = folder or self.folder
        prefix = "DASK_DISTRIBUTED__COMM__TLS__"
        variables = {prefix + "CA_FILE": f"{folder}/authority.crt"}
        for role in "SCHEDULER", "WORKER", "CLIENT":
            variables[f"{prefix}{role}__CERT"] = f"{folder}/dask.crt"
            variables[f"{prefix}{role}__KEY"] = f"{folder}/dask.key"
        return variables
