r"""The classes that have names: `\d`, `\p{Lu}`, `\p{IsLatin}`, `\p{InGreek}`, `\p{javaDigit}`."""

from __future__ import annotations

from proxy.evaluation.patterns.blocks import block
from proxy.evaluation.patterns.charset import (
    EVERYTHING,
    NOTHING,
    CharSet,
    Property,
    chars,
    intersect,
    negate,
    points,
    spans,
    union,
)
from proxy.evaluation.patterns.scripts import script

__all__ = ["NOTHING", "NOT_LINE_END", "NOT_NEWLINE", "find", "predefined"]

_DIGITS = spans([(0x30, 0x39)])
_UPPER = spans([(0x41, 0x5A)])
_LOWER = spans([(0x61, 0x7A)])
_ALPHA = union(_UPPER, _LOWER)
_SPACES = chars(" \t\n\x0b\f\r")
_VERTICAL = chars("\n\x0b\f\r\x85\u2028\u2029")
_HORIZONTAL = union(
    points(0x09, 0x20, 0xA0, 0x1680, 0x180E, 0x202F, 0x205F, 0x3000), spans([(0x2000, 0x200A)])
)
_JOINERS = points(0x200C, 0x200D)
NOT_LINE_END = negate(chars("\n\r\x85\u2028\u2029"))
NOT_NEWLINE = negate(chars("\n"))


def _category(name: str) -> Property:
    return Property(rf"\p{{{name}}}", rf"\p{{{name}}}")


def _categories(names: str) -> CharSet:
    return union(*map(_category, names.split()))


_L, _M, _N, _P, _S, _Z = map(_category, "LMNPSZ")
_ASSIGNED = union(_L, _M, _N, _P, _S, _Z, _categories("Cc Cf Co"), spans([(0xD800, 0xDFFF)]))
_CASED = _categories("Lu Ll Lt")
_ALPHABETIC = Property(None, r"\p{Alphabetic}")
_IDEOGRAPHIC = Property(None, r"\p{Ideographic}")
_ND = _category("Nd")
# Other_Lowercase and Other_Uppercase, spelled out because RE2 knows neither.
_LOWERCASE = union(
    _category("Ll"),
    points(0xAA, 0xBA, 0x345, 0x37A, 0x1D78, 0x2071, 0x207F, 0xA770),
    spans([(0x2B0, 0x2B8), (0x2C0, 0x2C1), (0x2E0, 0x2E4), (0x1D2C, 0x1D6A), (0x1D9B, 0x1DBF)]),
    spans([(0x2090, 0x209C), (0x2170, 0x217F), (0x24D0, 0x24E9), (0x2C7C, 0x2C7D)]),
    spans([(0xA69C, 0xA69D), (0xA7F8, 0xA7F9), (0xAB5C, 0xAB5F)]),
)
_UPPERCASE = union(
    _category("Lu"),
    spans([(0x2160, 0x216F), (0x24B6, 0x24CF), (0x1F130, 0x1F149)]),
    spans([(0x1F150, 0x1F169), (0x1F170, 0x1F189)]),
)
_ANY_CASE = union(_LOWERCASE, _UPPERCASE, _category("Lt"))
_WHITE_SPACE = union(_Z, spans([(0x09, 0x0D)]), points(0x85))
_BLANK = union(_category("Zs"), points(0x09))
_GRAPH = union(_L, _M, _N, _P, _S, _categories("Cf Co"))
_WORD = union(_ALPHABETIC, _M, _ND, _category("Pc"), _JOINERS)
_HEX_DIGIT = union(
    _ND, chars("ABCDEFabcdef"), spans([(0xFF10, 0xFF19), (0xFF21, 0xFF26), (0xFF41, 0xFF46)])
)
_IGNORABLE = union(spans([(0, 8), (0xE, 0x1B), (0x7F, 0x9F)]), _category("Cf"))
_ID_START = union(_L, _category("Nl"), points(0x1885, 0x1886, 0x2118, 0x212E, 0x309B, 0x309C))
_ID_PART = union(
    _ID_START,
    _categories("Pc Nd Mc Mn"),
    _IGNORABLE,
    points(0xB7, 0x387, 0x19DA),
    spans([(0x1369, 0x1371)]),
)
_NONCHARACTERS = union(
    spans([(0xFDD0, 0xFDEF)]), spans((n << 16 | 0xFFFE, n << 16 | 0xFFFF) for n in range(17))
)

_ASCII: dict[str, CharSet] = {
    "ASCII": spans([(0, 0x7F)]),
    "Alnum": union(_ALPHA, _DIGITS),
    "Alpha": _ALPHA,
    "Blank": chars(" \t"),
    "Cntrl": union(spans([(0, 0x1F)]), points(0x7F)),
    "Digit": _DIGITS,
    "Graph": spans([(0x21, 0x7E)]),
    "Lower": _LOWER,
    "Print": spans([(0x20, 0x7E)]),
    "Punct": intersect(spans([(0x21, 0x7E)]), negate(union(_ALPHA, _DIGITS))),
    "Space": _SPACES,
    "Upper": _UPPER,
    "XDigit": chars("0123456789ABCDEFabcdef"),
}
_JAVA: dict[str, CharSet] = {
    "javaLowerCase": _LOWERCASE,
    "javaUpperCase": _UPPERCASE,
    "javaAlphabetic": _ALPHABETIC,
    "javaIdeographic": _IDEOGRAPHIC,
    "javaTitleCase": _category("Lt"),
    "javaDigit": _ND,
    "javaDefined": _ASSIGNED,
    "javaLetter": _L,
    "javaLetterOrDigit": union(_L, _ND),
    "javaJavaIdentifierStart": union(_L, _categories("Nl Sc Pc")),
    "javaJavaIdentifierPart": union(_L, _categories("Nl Sc Pc Nd Mc Mn"), _IGNORABLE),
    "javaUnicodeIdentifierStart": _ID_START,
    "javaUnicodeIdentifierPart": _ID_PART,
    "javaIdentifierIgnorable": _IGNORABLE,
    "javaSpaceChar": _Z,
    "javaWhitespace": union(
        spans([(0x09, 0x0D), (0x1C, 0x20), (0x2000, 0x2006), (0x2008, 0x200A)]),
        points(0x1680, 0x2028, 0x2029, 0x205F, 0x3000),
    ),
    "javaISOControl": spans([(0, 0x1F), (0x7F, 0x9F)]),
    "javaMirrored": Property(None, r"\p{Bidi_Mirrored}"),
}
_CATEGORY_NAMES = (
    "L M N P S Z Lu Ll Lt Lm Lo Mn Me Mc Nd Nl No",
    "Zs Zl Zp Cc Cf Co Pd Ps Pe Pc Po Pi Pf Sm Sc Sk So",
)
_GENERAL: dict[str, CharSet] = {
    **{name: _category(name) for name in " ".join(_CATEGORY_NAMES).split()},
    "Cs": spans([(0xD800, 0xDFFF)]),
    "Cn": negate(_ASSIGNED),
    "C": negate(union(_L, _M, _N, _P, _S, _Z)),
    "LC": _CASED,
    "LD": union(_L, _ND),
    "L1": spans([(0, 0xFF)]),
    "all": EVERYTHING,
    **_ASCII,
    **_JAVA,
}
_POSIX: dict[str, CharSet] = {
    "ALPHA": _ALPHABETIC,
    "LOWER": _LOWERCASE,
    "UPPER": _UPPERCASE,
    "SPACE": _WHITE_SPACE,
    "PUNCT": _P,
    "XDIGIT": _HEX_DIGIT,
    "ALNUM": union(_ALPHABETIC, _ND),
    "CNTRL": _category("Cc"),
    "DIGIT": _ND,
    "BLANK": _BLANK,
    "GRAPH": _GRAPH,
    "PRINT": union(_GRAPH, _category("Zs")),
}
_BINARY: dict[str, CharSet] = {
    "ALPHABETIC": _ALPHABETIC,
    "ASSIGNED": _ASSIGNED,
    "CONTROL": _category("Cc"),
    "HEXDIGIT": _HEX_DIGIT,
    "HEX_DIGIT": _HEX_DIGIT,
    "IDEOGRAPHIC": _IDEOGRAPHIC,
    "JOINCONTROL": _JOINERS,
    "JOIN_CONTROL": _JOINERS,
    "LETTER": _L,
    "LOWERCASE": _LOWERCASE,
    "NONCHARACTERCODEPOINT": _NONCHARACTERS,
    "NONCHARACTER_CODE_POINT": _NONCHARACTERS,
    "TITLECASE": _category("Lt"),
    "PUNCTUATION": _P,
    "UPPERCASE": _UPPERCASE,
    "WHITESPACE": _WHITE_SPACE,
    "WHITE_SPACE": _WHITE_SPACE,
    "WORD": _WORD,
}
_ANY_CASE_OF: dict[str, CharSet] = {
    **dict.fromkeys(("Lu", "Ll", "Lt"), _CASED),
    **dict.fromkeys(("Lower", "Upper"), _ALPHA),
    **dict.fromkeys(("javaLowerCase", "javaUpperCase", "javaTitleCase"), _ANY_CASE),
    **dict.fromkeys(("LOWER", "UPPER", "LOWERCASE", "UPPERCASE", "TITLECASE"), _ANY_CASE),
}
_PREDEFINED: dict[str, CharSet] = {
    "d": _DIGITS,
    "h": _HORIZONTAL,
    "s": _SPACES,
    "v": _VERTICAL,
    "w": union(_ALPHA, _DIGITS, chars("_")),
}
_PREDEFINED_UNICODE: dict[str, CharSet] = {"d": _ND, "s": _WHITE_SPACE, "w": _WORD}


def predefined(letter: str, *, unicode: bool) -> CharSet | None:
    r"""Return the set of the lower-case letter of `\d`, `\h`, `\s`, `\v` or `\w`."""
    if unicode and letter in _PREDEFINED_UNICODE:
        return _PREDEFINED_UNICODE[letter]
    return _PREDEFINED.get(letter)


def find(name: str, flags: frozenset[str]) -> CharSet | None:
    r"""Return the set that `\p{name}` stands for under the flags; None when Java knows none."""
    key, equals, value = name.partition("=")
    if equals:
        return _find_by_key(key.lower(), value, flags)
    if name.startswith("In"):
        return block(name[2:])
    if name.startswith("Is"):
        return _find_is(name[2:], flags)
    posix = _named(_POSIX, name.upper(), flags) if "U" in flags else None
    return posix or _named(_GENERAL, name, flags)


def _find_by_key(key: str, value: str, flags: frozenset[str]) -> CharSet | None:
    match key:
        case "sc" | "script":
            return script(value)
        case "blk" | "block":
            return block(value)
        case "gc" | "general_category":
            return _named(_GENERAL, value, flags)
    return None


def _find_is(name: str, flags: frozenset[str]) -> CharSet | None:
    return (
        _named(_BINARY, name.upper(), flags)
        or _named(_POSIX, name.upper(), flags)
        or _named(_GENERAL, name, flags)
        or script(name)
    )


def _named(table: dict[str, CharSet], name: str, flags: frozenset[str]) -> CharSet | None:
    if "i" in flags and name in table and name in _ANY_CASE_OF:
        return _ANY_CASE_OF[name]
    return table.get(name)
