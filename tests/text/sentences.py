"""What was recorded: texts that a tokenizer and an encoder may get wrong."""

LENGTH = 12
ENCODED = (
    "",
    "A dog runs.",
    "a cat -- really?! -- (sleeps) on a 'mat'; 3.5 km away...",
    "Café naïve Ångström, São Paulo",
    "犬が走る 한국어",
    "two people dance slowly in front of a red curtain while a band plays behind them",
    "antidisestablishmentarianism 🐕‍🦺 xyzzyqwv",
    "THE SAME   \t dog\nRUNS",
)
TOKENIZED = (
    *ENCODED,
    "İstanbul'da IŞIK, ẞtraße, ΣΟΦΟΣ ΛΟΓΟΣ",
    "e\u0301 and é; o\u0308\u0304; n\u0303",
    "control\x00\x07chars\x0b\x1f here\x85there\u200b zero\ufeffwidth\ufffd",
    "spaces:\u00a0\u2003\u3000ends\u2028line\u2029paragraph",
    "$100 + 50% = a^b_c`d~e|f<g>h",
    "«quotes» “curly” ‘single’ – — … ¿qué? ¡sí!",
    "漢字かなカタカナ㐀𠀀豈 mixed漢with字latin",
    "Привет, мир! Ёлка й",
    "नमस्ते दुनिया สวัสดี مرحبا بِكُم שָׁלוֹם",
    "don't won't it's rock'n'roll",
    "http://example.com/a?b=c&d=e#f user@mail.org",
    "a" * 100 + " " + "b" * 101,
    "1,234,567.89 2nd 3rd 10:30am",
    "emoji 😀👩‍👩‍👧‍👦🇩🇪 ™ © ① ½ ﬁ ＦＵＬＬ",
    "hyphen-ated under_score camelCase dots...more",
    "private\ue000use unassigned\u0378",
    "word " * 100,
    "[unk [pad] [",
)
