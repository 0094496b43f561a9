"""Records what the reference answers: ids from `tokenizers`, vectors from ONNX Runtime.

    python3 examples/fetch.py embed
    python3 -m venv .cache/venv-examples
    .cache/venv-examples/bin/pip install -r examples/requirements.txt
    .cache/venv-examples/bin/python examples/embed/model/record.py

writes `expected.json`, `golden.json` and the sample requests. Each text is run alone, without padding,
so that what the handler does about padding is checked and not repeated.
"""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import onnxruntime
import tokenizers

EXAMPLE = Path(__file__).resolve().parents[1]
FETCHED = EXAMPLE / "model" / ".fetched"
MAX_TOKENS = 256  # sentence_bert_config.json of the package: max_seq_length
BLOCK = 0x1000
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

# The first two say nearly the same thing, the third has nothing to do with them.
TEXTS = [
    "A man is eating a plate of spaghetti.",
    "Someone is having pasta for dinner.",
    "The central bank raised interest rates by a quarter of a point.",
    "Where is the nearest railway station?",
    "Functions cost nothing while idle, and wake in under a millisecond.",
    "L'été dernier, nous avons déjeuné près de la forêt à Évian.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "東京は日本の首都です。",
    "北京是中国的首都，人口超过两千万。",
    "서울은 대한민국의 수도이다.",
    "Столица России, город на Москве-реке",
    "القاهرة عاصمة مصر",
    "Deploying on a Friday 🚀🔥 what could go wrong?! 👩‍💻",
    "E = mc², ∮ B·dl = μ₀I; x₁ ≤ x₂ … “quoted” — and ‘so on’.",
    "fn main() { println!(\"{}\", a[0] + b[1]); } // snake_case, CamelCase & http://example.com/?q=1",
    "unaffordable antidisestablishmentarianism hyperparameterisation",
    "",
    " ".join(f"Paragraph {number} goes on about the weather in Lisbon." for number in range(60)),
]

# Only their ids are recorded.
CORNERS = [
    "[CLS] a [SEP] b [PAD] [UNK] [MASK] c",
    "x[MASK]y[mask][[SEP]]",
    "é" * 100,
    "é" * 101,
    "a" * 300 + " b",
    "tab\tnewline\ncarriage\rvertical\x0bform\x0cnext\x85nbsp\u00a0line\u2028end",
    "nul\x00byte\ufffdreplacement\u200bzero\u200djoiner\ufeffmark\u00adhyphen",
    "İstanbul Straße ΑΣ ﬁne ① Ⅷ ǅ",
    "e\u0301\u0327 a\u0308\u0323 \u0301",
    "Ａ Ｂ，全角　スペース。ｶﾅ",
    "ไทย हिन्दी বাংলা தமிழ் עברית ქართული",
    "word " * 253,
    "word " * 254,
    "word " * 255,
    "don't can't o'clock rock-n-roll 3.14 1,000,000 $5 50% #tag @you a_b ~`^|<>+=",
    "\U0001f1eb\U0001f1f7 \U0001f468\u200d\U0001f469\u200d\U0001f467 ✌🏽 ☃ ™ © €",
    "丽 \U0002a6d6 \U0002b920 \U0002f800 﨎",
    "   ",
]


def shortest(values):
    """The shortest decimals that read back as the same f32."""
    return [float(str(np.float32(value))) for value in values]


def reference_tokenizer():
    """The package's tokenizer, set as sentence-transformers sets it."""
    tokenizer = tokenizers.Tokenizer.from_file(str(FETCHED / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    return tokenizer


def unicode_checksums(tokenizer):
    """One CRC-32 for every 4,096 code points, over the ids of each between and beside letters."""
    checksums = []
    for block in range(0, 0x110000, BLOCK):
        code_points = (c for c in range(block, block + BLOCK) if not 0xD800 <= c <= 0xDFFF)
        texts = [f"a{chr(c)}b {chr(c)}" for c in code_points]
        checksum = 0
        for encoding in tokenizer.encode_batch(texts):
            checksum = zlib.crc32(struct.pack(f"<{len(encoding.ids)}I", *encoding.ids), checksum)
        checksums.append(checksum)
    return checksums


def embed(session, ids):
    tokens = np.array([ids], dtype=np.int64)
    feeds = dict(zip(INPUTS, (tokens, np.ones_like(tokens), np.zeros_like(tokens)), strict=True))
    (vectors,) = session.run(["sentence_embedding"], feeds)
    return vectors[0]


def golden(cases):
    """The first three texts as one padded batch, with the answers each has alone."""
    rows = cases[:3]
    width = max(len(case["ids"]) for case in rows)
    ids = [case["ids"] + [0] * (width - len(case["ids"])) for case in rows]
    mask = [[1] * len(case["ids"]) + [0] * (width - len(case["ids"])) for case in rows]
    flat = {"input_ids": sum(ids, []), "attention_mask": sum(mask, []), "token_type_ids": [0] * (3 * width)}
    vectors = [value for case in rows for value in case["embedding"]]
    return [
        {
            "inputs": {name: {"shape": [3, width], "i64": values} for name, values in flat.items()},
            "outputs": {"sentence_embedding": {"shape": [3, 384], "f32": vectors}},
            "tolerance": 1e-3,
        }
    ]


def main():
    tokenizer = reference_tokenizer()
    session = onnxruntime.InferenceSession(FETCHED / "minilm.onnx", providers=["CPUExecutionProvider"])
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        cases.append({"text": text, "ids": ids, "embedding": shortest(embed(session, ids))})
    vectors = np.array([case["embedding"] for case in cases])
    related, unrelated = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    assert related > 0.4 and unrelated < 0.1, (related, unrelated)

    expected = {
        "recorded_with": f"onnxruntime {onnxruntime.__version__}, tokenizers {tokenizers.__version__}",
        "tolerance": 1e-3,
        "related": [0, 1],
        "unrelated": [0, 2],
        "cases": cases,
        "corners": [{"text": text, "ids": tokenizer.encode(text).ids} for text in CORNERS],
        "unicode": {"block": BLOCK, "crc32": unicode_checksums(tokenizer)},
    }
    lists = {"cases": cases, "corners": expected["corners"]}
    lines = []
    for name, value in expected.items():
        if name in lists:
            value = "[\n" + ",\n".join("    " + json.dumps(item) for item in value) + "\n  ]"
        else:
            value = json.dumps(value)
        lines.append(f'  "{name}": {value}')
    (EXAMPLE / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    (EXAMPLE / "model" / "golden.json").write_text(json.dumps(golden(cases)) + "\n")
    requests = EXAMPLE / "requests"
    (requests / "one.json").write_text(json.dumps({"text": TEXTS[0]}) + "\n")
    batch = json.dumps({"texts": [TEXTS[index] for index in (0, 1, 2, 5, 7, 12)]}, ensure_ascii=False)
    (requests / "batch.json").write_text(batch + "\n")
    print(f"{expected['recorded_with']}: {len(cases)} texts, cosine {related:.3f} related, {unrelated:.3f} not")


if __name__ == "__main__":
    main()
