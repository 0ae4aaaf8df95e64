"""word_tokens.py TEXT PREFIX: a text as a set of tokens (PREFIX.idx, PREFIX.bin), a token a word or a mark, for a vocabulary
of 50,304: the 50,302 commonest, 0 for the others, 256 at the end as `retain data prepare` has it."""
import collections
import re
import struct
import sys
from array import array

END, COMMONEST = 256, 50302
text_path, prefix = sys.argv[1:]
with open(text_path, encoding="utf-8", errors="replace") as file:
    words = re.findall(r"\w+|[^\w\s]", file.read())
ranked = [word for word, _ in collections.Counter(words).most_common(COMMONEST)]
token_of = {word: rank + 1 + (rank + 1 >= END) for rank, word in enumerate(ranked)}
tokens = array("H", [token_of.get(word, 0) for word in words] + [END])
with open(prefix + ".bin", "wb") as file:
    tokens.tofile(file)
with open(prefix + ".idx", "wb") as file:  # one sequence, one document
    file.write(b"MMIDIDX\0\0" + struct.pack("<QBQQiqqq", 1, 8, 1, 2, len(tokens), 0, 0, 1))
