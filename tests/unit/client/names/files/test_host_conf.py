"""host.conf is read as glibc reads it, and no content is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.names.files.host_conf import HostConf, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", HostConf()),
        ("multi on\n", HostConf(multi=True)),
        ("  MULTI\tOn # x\nreorder on", HostConf(multi=True, reorder=True)),
        ("multi on\nmulti off\n", HostConf()),
        ("multi\nmulti yes\n#multi on\nmultiple on\norder hosts\n", HostConf()),
        ("trim .a.test, .b.test;.c.test # .d.test\n", HostConf(trim=(".a.test", ".b.test", ".c.test"))),
        ("trim .1 .2\ntrim .3:.4 .5\n", HostConf(trim=(".1", ".2", ".3", ".4"))),
    ],
)
def test_lines_are_read(text: str, expected: HostConf) -> None:
    assert parse(text, {}) == expected


def test_environment_overrides_the_file() -> None:
    variables = {"RESOLV_MULTI": "off", "RESOLV_REORDER": "on", "RESOLV_ADD_TRIM_DOMAINS": ".b"}
    assert parse("multi on\ntrim .a\n", variables) == HostConf(reorder=True, trim=(".a", ".b"))
    assert parse("trim .a\n", {"RESOLV_OVERRIDE_TRIM_DOMAINS": ".c"}).trim == (".c",)


def test_one_end_is_cut_off_a_name() -> None:
    conf = HostConf(trim=(".corp.test", ".test"))
    assert [conf.trimmed(name) for name in ("www.Corp.Test", "www.test", "www.other", ".test")] == [
        "www",
        "www",
        "www.other",
        ".test",
    ]


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    parse(text, {"RESOLV_MULTI": text, "RESOLV_ADD_TRIM_DOMAINS": text}).trimmed("www.test")
