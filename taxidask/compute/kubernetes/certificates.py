"""Certificates of one cluster: whoever holds them may speak to its scheduler and workers, and nobody else."""

from __future__ import annotations

import base64
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Security

DAYS = 365
"""How long certificates hold; a cluster that is not used shuts itself down long before."""


@dataclass(frozen=True, repr=False)
class Certificates:
    """A certificate authority made for one cluster, and the one certificate it ever signed, as PEM texts.

    The authority's key is thrown away: nobody can add a member later.
    """

    ca: str
    cert: str
    key: str

    @classmethod
    def make(cls, name: str, namespace: str, *, now: dt.datetime) -> Certificates:
        """New ones for the cluster `name`, valid from an hour before `now` (clocks differ) for a year."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])

        def usage(*, signs: bool) -> x509.KeyUsage:
            return x509.KeyUsage(
                digital_signature=not signs,
                key_cert_sign=signs,
                crl_sign=signs,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            )

        host = f"{name}-scheduler"
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name = named(f"taxidask {namespace} {name}")
        period = now - dt.timedelta(hours=1), now + dt.timedelta(days=DAYS)
        ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
        ca = (
            x509.CertificateBuilder(ca_name, ca_name, ca_key.public_key(), x509.random_serial_number(), *period)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage(signs=True), critical=True)
            .add_extension(ca_id, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        both_ends = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        hosts = [host, f"{host}.{namespace}", f"{host}.{namespace}.svc", f"{host}.{namespace}.svc.cluster.local"]
        cert = (
            x509.CertificateBuilder(ca_name, named(host), key.public_key(), x509.random_serial_number(), *period)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(both_ends), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(h) for h in hosts]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return cls(ca.public_bytes(pem).decode(), cert.public_bytes(pem).decode(), private.decode())

    def secret(self, name: str, labels: dict[str, str], owner: dict[str, Any]) -> dict[str, Any]:
        """As a Secret that goes when its `owner` goes."""
        data = {"ca.crt": self.ca, "tls.crt": self.cert, "tls.key": self.key}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "immutable": True,
            "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
            "data": {key: base64.b64encode(text.encode()).decode() for key, text in data.items()},
        }

    @classmethod
    def from_secret(cls, secret: dict[str, Any]) -> Certificates:
        """From the Secret as the API server sends it; KeyError if it is another kind of Secret."""
        return cls(*(base64.b64decode(secret["data"][key]).decode() for key in ("ca.crt", "tls.crt", "tls.key")))

    def security(self) -> Security:
        """What a Dask client needs to be let in."""
        from distributed import Security

        return Security(
            require_encryption=True, tls_ca_file=self.ca, tls_client_cert=self.cert, tls_client_key=self.key
        )

    def __repr__(self) -> str:
        return "Certificates(…)"
