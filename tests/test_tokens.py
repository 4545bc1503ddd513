import base64
import json

import pytest

from reka_cli.cookies.tokens import token_expiry_s


def jwt(payload):
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return f"e30.{base64.urlsafe_b64encode(body).decode().rstrip('=')}.c2ln"


class TestTheExpiryOfAToken:
    @pytest.mark.parametrize(
        ("token", "expires_s"),
        [
            (jwt({"exp": 1_800_000_000}), 1.8e9),
            (jwt({"exp": 1_800_000_000.5, "sub": "x"}), 1_800_000_000.5),
            (jwt({"exp": 1_800_000_000, "sub": "ü>?🐈~"}), 1.8e9),
            (jwt({"exp": "1800000000"}), 1.8e9),
            (jwt({"exp": 0}), 0.0),
            (jwt({"exp": -1}), -1.0),
            (jwt({"exp": 1}).rpartition(".")[0], 1.0),
        ],
    )
    def test_is_read_from_its_claims(self, token, expires_s):
        assert token_expiry_s(token) == expires_s

    @pytest.mark.parametrize(
        "token",
        [
            *(
                "",
                ".",
                "..",
                "opaque",
                "a.b",
                "a.b.c",
                "a.é.c",
                "a.%%%.c",
                "a.e30=.c",
                "\x00.\x00.\x00",
            ),
            *(jwt(claims) for claims in ({}, [], None, 7, "exp", ["exp"], {"EXP": 1}, {"iat": 1})),
            *(jwt({"exp": value}) for value in (None, "soon", "", [1], {"a": 1}, 10**400)),
            jwt(b'{"exp": 1'),
            jwt(b"\xff\xfe\xfd"),
            jwt(b'{"exp": ' + b"9" * 5000 + b"}"),
            jwt(b"[" * 100_000),
            jwt(b'{"exp": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
        ],
        ids=lambda token: token[:24],
    )
    def test_is_none_if_it_cannot_be_read(self, token):
        assert token_expiry_s(token) is None
