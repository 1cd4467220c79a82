"""The Unicode scripts by the names and ISO 15924 codes Java takes (Unicode 13, as in JDK 17)."""

from __future__ import annotations

import functools

from proxy.evaluation.patterns.charset import CharSet, Property

_SCRIPTS = """
common:zyyy latin:latn greek:grek cyrillic:cyrl armenian:armn hebrew:hebr arabic:arab syriac:syrc
thaana:thaa devanagari:deva bengali:beng gurmukhi:guru gujarati:gujr oriya:orya tamil:taml
telugu:telu kannada:knda malayalam:mlym sinhala:sinh thai:thai lao:laoo tibetan:tibt myanmar:mymr
georgian:geor hangul:hang ethiopic:ethi cherokee:cher canadian_aboriginal:cans ogham:ogam
runic:runr khmer:khmr mongolian:mong hiragana:hira katakana:kana bopomofo:bopo han:hani yi:yiii
old_italic:ital gothic:goth deseret:dsrt inherited:zinh tagalog:tglg hanunoo:hano buhid:buhd
tagbanwa:tagb limbu:limb tai_le:tale linear_b:linb ugaritic:ugar shavian:shaw osmanya:osma
cypriot:cprt braille:brai buginese:bugi coptic:copt new_tai_lue:talu glagolitic:glag
tifinagh:tfng syloti_nagri:sylo old_persian:xpeo kharoshthi:khar balinese:bali cuneiform:xsux
phoenician:phnx phags_pa:phag nko:nkoo sundanese:sund batak:batk lepcha:lepc ol_chiki:olck
vai:vaii saurashtra:saur kayah_li:kali rejang:rjng lycian:lyci carian:cari lydian:lydi cham:cham
tai_tham:lana tai_viet:tavt avestan:avst egyptian_hieroglyphs:egyp samaritan:samr mandaic:mand
lisu:lisu bamum:bamu javanese:java meetei_mayek:mtei imperial_aramaic:armi old_south_arabian:sarb
inscriptional_parthian:prti inscriptional_pahlavi:phli old_turkic:orkh brahmi:brah kaithi:kthi
meroitic_hieroglyphs:mero meroitic_cursive:merc sora_sompeng:sora chakma:cakm sharada:shrd
takri:takr miao:plrd caucasian_albanian:aghb bassa_vah:bass duployan:dupl elbasan:elba
grantha:gran pahawh_hmong:hmng khojki:khoj linear_a:lina mahajani:mahj manichaean:mani
mende_kikakui:mend modi:modi mro:mroo old_north_arabian:narb nabataean:nbat palmyrene:palm
pau_cin_hau:pauc old_permic:perm psalter_pahlavi:phlp siddham:sidd khudawadi:sind tirhuta:tirh
warang_citi:wara ahom:ahom anatolian_hieroglyphs:hluw hatran:hatr multani:mult old_hungarian:hung
signwriting:sgnw adlam:adlm bhaiksuki:bhks marchen:marc newa:newa osage:osge tangut:tang
masaram_gondi:gonm nushu:nshu soyombo:soyo zanabazar_square:zanb hanifi_rohingya:rohg
old_sogdian:sogo sogdian:sogd dogra:dogr gunjala_gondi:gong makasar:maka medefaidrin:medf
elymaic:elym nandinagari:nand nyiakeng_puachue_hmong:hmnp wancho:wcho yezidi:yezi chorasmian:chrs
dives_akuru:diak khitan_small_script:kits unknown:zzzz
"""
_RE2_NAMES = {"signwriting": "SignWriting"}


def script(name: str) -> CharSet | None:
    """Return the code points of the script; None if Java knows none of this name."""
    full = _by_name().get(name.lower())
    if full is None:
        return None
    backtracking = rf"\p{{Script={full}}}"
    if full == "unknown":
        return Property(None, backtracking)
    return Property(rf"\p{{{_RE2_NAMES.get(full, full.title())}}}", backtracking)


@functools.cache
def _by_name() -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in _SCRIPTS.split():
        name, _, code = entry.partition(":")
        found[name] = found[code] = name
    return found
