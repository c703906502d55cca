//! What two names have in common that people take for one.
//!
//! A keyboard writes `é` as one character, and some systems store it as `e` and an accent.

/// Returns the text in capitals, and each character with its mark as one character, so that two
/// texts that differ only in case or in their Unicode form become one. It is for comparison.
pub fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut last = None;
    for next in text.chars().flat_map(char::to_uppercase) {
        let joined = last.and_then(|last| composed(last, next));
        if joined.is_some() {
            folded.pop();
        }
        last = joined.or(Some(next));
        // In Turkish this is the capital of i, whose capital is I elsewhere.
        folded.extend(last.map(|last| if last == '\u{130}' { 'I' } else { last }));
    }
    folded
}

/// Returns the one character that these two are, if there is one.
fn composed(base: char, mark: char) -> Option<char> {
    if mark.is_ascii() {
        return None;
    }
    if let Some(syllable) = hangul(base.into(), mark.into()) {
        return char::from_u32(syllable);
    }
    let at = COMPOSED.binary_search_by_key(&mark, |(mark, _)| *mark).ok()?;
    let (_, pairs) = COMPOSED.get(at)?;
    let mut pairs = pairs.chars();
    while let (Some(one), Some(whole)) = (pairs.next(), pairs.next()) {
        if one == base {
            return Some(whole);
        }
    }
    None
}

/// Returns the syllable of Hangul that two parts make, by the rule of the Unicode standard
/// (section 3.12).
fn hangul(base: u32, mark: u32) -> Option<u32> {
    const LEAD: u32 = 0x1100;
    const VOWEL: u32 = 0x1161;
    const TAIL: u32 = 0x11a7;
    const SYLLABLE: u32 = 0xac00;
    const VOWELS: u32 = 21;
    const TAILS: u32 = 28;
    let lead = base.checked_sub(LEAD).filter(|lead| *lead < 19);
    let vowel = mark.checked_sub(VOWEL).filter(|vowel| *vowel < VOWELS);
    if let (Some(lead), Some(vowel)) = (lead, vowel) {
        return Some(SYLLABLE + (lead * VOWELS + vowel) * TAILS);
    }
    let open = base.checked_sub(SYLLABLE).filter(|s| *s < 11_172 && s.is_multiple_of(TAILS))?;
    let tail = mark.checked_sub(TAIL).filter(|tail| (1..TAILS).contains(tail))?;
    Some(SYLLABLE + open + tail)
}

/// For each mark, in order: the characters that it stands behind, each followed by the one
/// that both are. All canonical pairs of the Unicode standard among capitals and scripts
/// without case, but for mathematical signs and scripts of past times.
const COMPOSED: &[(char, &str)] = &[
    ('\u{300}', "AÀEÈIÌOÒUÙÜǛNǸЕЀИЍĒḔŌṐWẀÂẦĂẰÊỀÔỒƠỜƯỪYỲἈἊἉἋἘἚἙἛἨἪἩἫἸἺἹἻὈὊὉὋὙὛὨὪὩὫΑᾺΕῈΗῊΙῚΥῪΟῸΩῺ"),
    (
        '\u{301}',
        "AÁEÉIÍOÓUÚYÝCĆLĹNŃRŔSŚZŹÜǗGǴÅǺÆǼØǾΑΆΕΈΗΉΙΊΟΌΥΎΩΏϒϓГЃКЌÇḈĒḖÏḮKḰMḾÕṌŌṒPṔŨṸWẂÂẤĂẮÊẾÔỐƠỚƯỨ\
         ἈἌἉἍἘἜἙἝἨἬἩἭἸἼἹἽὈὌὉὍὙὝὨὬὩὭ",
    ),
    ('\u{302}', "AÂEÊIÎOÔUÛCĈGĜHĤJĴSŜWŴYŶZẐẠẬẸỆỌỘ"),
    ('\u{303}', "AÃNÑOÕIĨUŨVṼÂẪĂẴEẼÊỄÔỖƠỠƯỮYỸ"),
    ('\u{304}', "AĀEĒIĪOŌUŪÜǕÄǞȦǠÆǢǪǬÖȪÕȬȮȰYȲИӢУӮGḠḶḸṚṜΑᾹΙῙΥῩ"),
    ('\u{306}', "AĂEĔGĞIĬOŎUŬУЎИЙЖӁАӐЕӖȨḜẠẶΑᾸΙῘΥῨ"),
    ('\u{307}', "CĊEĖGĠIİZŻAȦOȮBḂDḊFḞHḢMṀNṄPṖRṘSṠŚṤŠṦṢṨTṪWẆXẊYẎ"),
    ('\u{308}', "AÄEËIÏOÖUÜYŸΙΪΥΫϒϔЕЁІЇАӒӘӚЖӜЗӞИӤОӦӨӪЭӬУӰЧӴЫӸHḦÕṎŪṺWẄXẌ"),
    ('\u{309}', "AẢÂẨĂẲEẺÊỂIỈOỎÔỔƠỞUỦƯỬYỶ"),
    ('\u{30a}', "AÅUŮ"),
    ('\u{30b}', "OŐUŰУӲ"),
    ('\u{30c}', "CČDĎEĚLĽNŇRŘSŠTŤZŽAǍIǏOǑUǓÜǙGǦKǨƷǮHȞ"),
    ('\u{30f}', "AȀEȄIȈOȌRȐUȔѴѶ"),
    ('\u{311}', "AȂEȆIȊOȎRȒUȖ"),
    ('\u{313}', "ΑἈΕἘΗἨΙἸΟὈΩὨ"),
    ('\u{314}', "ΑἉΕἙΗἩΙἹΟὉΥὙΩὩΡῬ"),
    ('\u{31b}', "OƠUƯ"),
    ('\u{323}', "BḄDḌHḤKḲLḶMṂNṆRṚSṢTṬVṾWẈZẒAẠEẸIỊOỌƠỢUỤƯỰYỴ"),
    ('\u{324}', "UṲ"),
    ('\u{325}', "AḀ"),
    ('\u{326}', "SȘTȚ"),
    ('\u{327}', "CÇGĢKĶLĻNŅRŖSŞTŢEȨDḐHḨ"),
    ('\u{328}', "AĄEĘIĮUŲOǪ"),
    ('\u{32d}', "DḒEḘLḼNṊTṰUṶ"),
    ('\u{32e}', "HḪ"),
    ('\u{330}', "EḚIḬUṴ"),
    ('\u{331}', "BḆDḎKḴLḺNṈRṞTṮZẔ"),
    ('\u{342}', "ἈἎἉἏἨἮἩἯἸἾἹἿὙὟὨὮὩὯ"),
    ('\u{653}', "\u{627}\u{622}"),
    (
        '\u{654}',
        "\u{627}\u{623}\u{648}\u{624}\u{64a}\u{626}\u{6d5}\u{6c0}\u{6c1}\u{6c2}\u{6d2}\u{6d3}",
    ),
    ('\u{655}', "\u{627}\u{625}"),
    ('\u{93c}', "\u{928}\u{929}\u{930}\u{931}\u{933}\u{934}"),
    ('\u{9be}', "\u{9c7}\u{9cb}"),
    ('\u{9d7}', "\u{9c7}\u{9cc}"),
    ('\u{b3e}', "\u{b47}\u{b4b}"),
    ('\u{b56}', "\u{b47}\u{b48}"),
    ('\u{b57}', "\u{b47}\u{b4c}"),
    ('\u{bbe}', "\u{bc6}\u{bca}\u{bc7}\u{bcb}"),
    ('\u{bd7}', "\u{b92}\u{b94}\u{bc6}\u{bcc}"),
    ('\u{c56}', "\u{c46}\u{c48}"),
    ('\u{cc2}', "\u{cc6}\u{cca}"),
    ('\u{cd5}', "\u{cbf}\u{cc0}\u{cc6}\u{cc7}\u{cca}\u{ccb}"),
    ('\u{cd6}', "\u{cc6}\u{cc8}"),
    ('\u{d3e}', "\u{d46}\u{d4a}\u{d47}\u{d4b}"),
    ('\u{d57}', "\u{d46}\u{d4c}"),
    ('\u{dca}', "\u{dd9}\u{dda}\u{ddc}\u{ddd}"),
    ('\u{dcf}', "\u{dd9}\u{ddc}"),
    ('\u{ddf}', "\u{dd9}\u{dde}"),
    ('\u{102e}', "\u{1025}\u{1026}"),
    (
        '\u{3099}',
        "かがきぎくぐけげこごさざしじすずせぜそぞただちぢつづてでとどはばひびふぶへべほぼうゔ\
         ゝゞカガキギクグケゲコゴサザシジスズセゼソゾタダチヂツヅテデトドハバヒビフブヘベホボ\
         ウヴワヷヰヸヱヹヲヺヽヾ",
    ),
    ('\u{309a}', "はぱひぴふぷへぺほぽハパヒピフプヘペホポ"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_form_make_no_difference_and_all_else_does() {
        for (one, other) in [
            ("Talk.pdf", "TALK.PDF"),
            ("caf\u{e9}.txt", "cafe\u{301}.txt"),
            ("CAF\u{c9}", "cafe\u{301}"),
            // Two marks, each in the canonical order.
            ("Vi\u{1ec7}t", "Vie\u{323}\u{302}t"),
            ("\u{439}", "\u{418}\u{306}"),
            ("\u{3ac}\u{1f84}", "\u{3b1}\u{301}\u{3b1}\u{313}\u{301}\u{345}"),
            ("\u{390}", "\u{3b9}\u{308}\u{301}"),
            ("\u{30ac}\u{3071}", "\u{30ab}\u{3099}\u{306f}\u{309a}"),
            ("\u{d55c}\u{ae00}", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}"),
            ("\u{622}", "\u{627}\u{653}"),
            ("\u{bca}", "\u{bc6}\u{bbe}"),
            ("stra\u{df}e", "STRASSE"),
            ("\u{3c3}\u{3c2}", "\u{3a3}\u{3a3}"),
            ("\u{fc}\u{17f}", "U\u{308}S"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
        for (one, other) in [("e", "\u{e9}"), ("\u{e9}", "\u{e8}"), ("a b", "ab"), ("1", "\u{b9}")]
        {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
        assert_eq!(folded("\u{301}e\u{301}\u{301}"), "\u{301}\u{c9}\u{301}");
    }

    #[test]
    fn the_marks_are_in_order_and_each_has_pairs() {
        assert!(COMPOSED.is_sorted_by(|one, other| one.0 < other.0));
        for (mark, pairs) in COMPOSED {
            assert!(pairs.chars().count() % 2 == 0 && !pairs.is_empty(), "{mark:?}");
        }
    }
}
