"""tokenizer_references.py make|check FOLDER TEXT: tokenizers made by their own libraries, and 10,000 random strings
(make); what Retain made of these beside what the libraries do (check). Ends with 77 where a library is missing."""
import json
import os
import random
import struct
import sys
from array import array

try:
    import sentencepiece
    import tiktoken
    import tokenizers
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

verb, folder, text_path = sys.argv[1:]
GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LATER = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""


def splitting(name):
    if name == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    split = pre_tokenizers.Split(Regex(LATER), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def make():
    for name in ("gpt2", "later"):
        tokenizer = Tokenizer(models.BPE(ignore_merges=name == "later"))
        tokenizer.pre_tokenizer = splitting(name)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=["<|endoftext|>"], show_progress=False,
                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        tokenizer.train([text_path], trainer)
        if name == "later":
            tokenizer.add_tokens(["<tab>", "<tabs>"])
        os.makedirs(f"{folder}/{name}", exist_ok=True)
        tokenizer.save(f"{folder}/{name}/tokenizer.json")
    os.makedirs(f"{folder}/files", exist_ok=True)
    with open(f"{folder}/gpt2/tokenizer.json") as file:
        model = json.load(file)["model"]
    with open(f"{folder}/files/vocab.json", "w") as file:
        json.dump(model["vocab"], file)
    with open(f"{folder}/files/merges.txt", "w") as file:
        file.write("#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in model["merges"]))
    with open(f"{folder}/strings.jsonl", "w") as file:
        for string in strings():
            file.write(json.dumps({"text": string}) + "\n")


def strings():
    """Never empty: an empty document is none. Without U+2581, which SentencePiece takes for a blank."""
    draw = random.Random(5)
    with open(text_path, encoding="utf-8") as file:
        text = file.read()
    ranges = [(0x20, 0x7F), (0x9, 0xE), (0xA0, 0x180), (0x370, 0x530), (0x2000, 0x2070), (0x3040, 0x3100), (0x4E00, 0x4F00),
              (0x660, 0x66A), (0x1F600, 0x1F650), (0x300, 0x310), (0x1680, 0x1681), (0x180E, 0x180F), (0x85, 0x86), (0x1, 0x9)]
    parts = ["'s", "'S", "'ll", " ", "  ", "\n", "\r\n", "\n\n", "\t", "123", "1234567", "<tab>", "<tabs", "<|endoftext|>", "...", "!?\n"]
    for _ in range(10000):
        out = ""
        while not out or draw.random() < 0.9:
            kind = draw.random()
            if kind < 0.4:
                at = draw.randrange(len(text) - 40)
                out += text[at : at + draw.randrange(1, 40)]
            elif kind < 0.7:
                out += draw.choice(parts)
            else:
                low, high = draw.choice(ranges)
                out += "".join(chr(draw.randrange(low, high)) for _ in range(draw.randrange(1, 6)))
        yield out


def documents(prefix):
    with open(prefix + ".idx", "rb") as file:
        index = file.read()
    code, sequences = struct.unpack("<BQ", index[17:26])
    lengths = struct.unpack(f"<{sequences}i", index[34 : 34 + 4 * sequences])
    tokens = array({8: "H", 4: "i"}[code])
    with open(prefix + ".bin", "rb") as file:
        tokens.frombytes(file.read())
    at = 0
    for length in lengths:
        yield list(tokens[at : at + length])
        at += length


def compare(name, encode):
    made = list(documents(f"{folder}/{name}.tokens"))
    assert len(made) == 10000, len(made)
    for string, tokens in zip(strings(), made):
        wanted = encode(string)
        assert tokens[:-1] == wanted, f"{name}: {string!r}: {tokens[:-1]}, want {wanted}"
    print(f"{name}: the tokens of 10,000 strings are the library's")


def bytes_of_letters():
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in seen}
    for byte in range(256):
        if byte not in seen:
            letters[chr(256 + len(letters) - len(seen))] = byte
    return letters


def check():
    for name in ("gpt2", "later"):
        tokenizer = Tokenizer.from_file(f"{folder}/{name}/tokenizer.json")
        tokenizer.encode_special_tokens = True  # as text: it never ends a document
        compare(name, lambda string: tokenizer.encode(string).ids)
    with open(f"{folder}/files/vocab.json") as file:
        vocabulary = json.load(file)
    letters = bytes_of_letters()
    ranks = {bytes(letters[c] for c in text): rank for text, rank in vocabulary.items() if text != "<|endoftext|>"}
    end = vocabulary["<|endoftext|>"]
    # tiktoken merges by rank, which is the order of the merges where a trainer gave it.
    encoding = tiktoken.Encoding("files", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": end})
    compare("files", encoding.encode_ordinary)
    if os.path.exists(f"{folder}/real.tokens.idx"):
        with open(os.environ["RETAIN_GPT2"] + "/vocab.json") as file:
            real = json.load(file)
        ranks = {bytes(letters[c] for c in text): rank for text, rank in real.items() if text != "<|endoftext|>"}
        encoding = tiktoken.Encoding("gpt2", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})
        compare("real", encoding.encode_ordinary)
    if os.path.exists(f"{folder}/pieces.tokens.idx"):
        processor = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/pieces/tokenizer.model")
        compare("pieces", processor.encode)


{"make": make, "check": check}[verb]()
