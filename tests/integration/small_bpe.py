"""small_bpe.py TEXT FOLDER VOCABULARY: a byte-level BPE of so many tokens in GPT-2's two files, trained on a small text by the
plain rule: the commonest pair of neighbours in words becomes a token, again and again."""
import collections
import json
import os
import re
import sys

text_path, folder, vocabulary_size = sys.argv[1], sys.argv[2], int(sys.argv[3])
seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
letters = {byte: chr(byte) for byte in seen}
for byte in range(256):
    letters.setdefault(byte, chr(256 + len(letters) - len(seen)))
with open(text_path, "rb") as file:
    counts = collections.Counter(re.findall(rb" ?[a-z]+|\s+|[^a-z\s]+", file.read()))
words = {tuple(letters[b] for b in word): count for word, count in counts.items()}
tokens, merges = list(letters.values()), []
while len(tokens) < vocabulary_size - 1:
    pairs = collections.Counter()
    for word, count in words.items():
        for pair in zip(word, word[1:]):
            pairs[pair] += count
    left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
    merges.append(f"{left} {right}")
    tokens.append(left + right)
    merged = {}
    for word, count in words.items():
        out, i = [], 0
        while i < len(word):
            both = word[i : i + 2] == (left, right)
            out.append(left + right if both else word[i])
            i += 2 if both else 1
        merged[tuple(out)] = merged.get(tuple(out), 0) + count
    words = merged
os.makedirs(folder, exist_ok=True)
with open(f"{folder}/vocab.json", "w") as file:
    json.dump({token: i for i, token in enumerate([*tokens, "<|endoftext|>"])}, file)
with open(f"{folder}/merges.txt", "w") as file:
    file.write("#version: 0.2\n" + "".join(merge + "\n" for merge in merges))
