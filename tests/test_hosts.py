import pytest

from reka_cli.hosts import is_loopback, is_reka_host


class TestHosts:
    @pytest.mark.parametrize(
        "hostname", ["localhost", "127.0.0.1", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1"]
    )
    def test_that_are_this_machine(self, hostname):
        assert is_loopback(hostname)

    @pytest.mark.parametrize(
        "hostname",
        [
            *(
                "",
                "localhost.evil.example",
                "evillocalhost",
                "127.0.0.1.evil.example",
                "128.0.0.1",
                "0.0.0.0",
                "::",
                "::2",
            ),
            *(
                "10.0.0.1",
                "192.168.1.1",
                "169.254.169.254",
                "2130706433",
                "0x7f000001",
                "127.1",
                "017700000001",
                "[::1]",
            ),
            *("127.0.0.1:80", " 127.0.0.1", "127.0.0.1\n", "fe80::1", "space.reka.ai"),
        ],
    )
    def test_that_are_not_this_machine(self, hostname):
        assert not is_loopback(hostname)

    @pytest.mark.parametrize(
        "hostname", ["reka.ai", "space.reka.ai", "chat.reka.ai", "api.reka.ai", "a.b-c.d.reka.ai"]
    )
    def test_that_are_of_reka(self, hostname):
        assert is_reka_host(hostname)

    @pytest.mark.parametrize(
        "hostname",
        [
            *(
                "",
                "ai",
                "reka",
                ".reka.ai",
                "evilreka.ai",
                "evil-reka.ai",
                "reka.ai.evil.example",
                "space.reka.ai.evil.example",
            ),
            *(
                "reka.aix",
                "rekaXai",
                "reka.ai.",
                "reka.ai ",
                " reka.ai",
                "reka.ai\n",
                "reka.ai:443",
                "localhost",
                "127.0.0.1",
            ),
            *(
                "evil.example\\.reka.ai",
                "evil.example/.reka.ai",
                "evil.example?.reka.ai",
                "evil.example#.reka.ai",
            ),
            *(
                "evil.example@space.reka.ai",
                "evil.example%2f.reka.ai",
                "evil.example\x00.reka.ai",
                "evil..reka.ai",
                "rékа.reka.ai",
            ),
        ],
    )
    def test_that_are_not_of_reka(self, hostname):
        assert not is_reka_host(hostname)
