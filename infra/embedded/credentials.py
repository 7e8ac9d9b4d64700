"""The stack's secrets, made once at its first start and kept beside its data."""

import datetime
import secrets
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field

from infra.embedded.private_file import write_private


def _token() -> str:
    return secrets.token_hex(24)


class Credentials(BaseModel):
    """Passwords and keys, random and hexadecimal, so that none needs quoting in a URL."""

    postgres_password: str = Field(default_factory=_token, repr=False)
    s3_access_key_id: str = Field(default_factory=lambda: secrets.token_hex(10).upper())
    s3_secret_access_key: str = Field(default_factory=_token, repr=False)
    s3_signing_key: str = Field(default_factory=_token, repr=False)
    api_token: str = Field(default_factory=_token, repr=False)
    console_password: str = Field(default_factory=lambda: secrets.token_urlsafe(15), repr=False)

    @classmethod
    def of(cls, root: Path) -> Self:
        """The credentials of the stack in `root`: made at the first call, the same ever after.

        What a stack of an older version lacks is added.
        """
        path = root / "credentials.json"
        credentials = cls.model_validate_json(path.read_bytes()) if path.exists() else cls()
        if credentials.model_fields_set == cls.model_fields.keys():
            return credentials
        write_private(path, credentials.model_dump_json(indent=2).encode())
        return credentials


def make_certificate(certificate: Path, key: Path) -> None:
    """Write a certificate that vouches for itself and its key, unless both are there.

    Whoever holds the key can speak to the servers that trust the certificate, and nobody else.
    """
    if certificate.exists() and key.exists():
        return
    # Only where a stack is started, so that the other commands do without the library.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "headrace")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=36_500))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    write_private(
        key,
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    write_private(certificate, signed.public_bytes(serialization.Encoding.PEM))
