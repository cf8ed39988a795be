"""Certificates without host names, as users create them for Dask."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A certificate authority in a new folder, and one certificate signed by it for all roles."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        key, certificate = self.make("authority", None)
        self.make("dask", (key, certificate))

    def make(self, name, issuer):
        """Create a key and its certificate, signed by ``issuer`` or self-signed if that is None."""
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
        """Return the path of a key or a certificate."""
        return self.folder / f"{name}.{kind}"

    def variables(self, folder=None):
        """Return Dask's environment variables for all roles, with the files in ``folder``."""
        folder = folder or self.folder
        prefix = "DASK_DISTRIBUTED__COMM__TLS__"
        variables = {prefix + "CA_FILE": f"{folder}/authority.crt"}
        for role in "SCHEDULER", "WORKER", "CLIENT":
            variables[f"{prefix}{role}__CERT"] = f"{folder}/dask.crt"
            variables[f"{prefix}{role}__KEY"] = f"{folder}/dask.key"
        return variables
