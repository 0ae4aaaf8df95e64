"""Reads a set of tokens as Megatron-LM's indexed_dataset.py lays it out, sharing no line with Retain: its documents."""
import mmap
import struct

# Megatron's codes; 6 and 7 are floats.
TYPES = {1: "B", 2: "b", 3: "h", 4: "i", 5: "q", 8: "H"}


def documents(prefix):
    """The tokens of each document."""
    with open(prefix + ".idx", "rb") as file:
        index = file.read()
    magic, version, code, sequences, boundaries = struct.unpack_from("<9sQBQQ", index, 0)
    assert magic == b"MMIDIDX\0\0", magic
    assert version == 1, version
    at = struct.calcsize("<9sQBQQ")
    assert at == 34
    lengths = struct.unpack_from(f"<{sequences}i", index, at)
    at += 4 * sequences
    pointers = struct.unpack_from(f"<{sequences}q", index, at)
    at += 8 * sequences
    document_indices = struct.unpack_from(f"<{boundaries}q", index, at)
    at += 8 * boundaries
    assert at == len(index), (at, len(index))
    assert document_indices[0] == 0 and document_indices[-1] == sequences, "boundaries"
    size = struct.calcsize(TYPES[code])
    with open(prefix + ".bin", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tokens:
        expected = 0
        for length, pointer in zip(lengths, pointers):
            assert pointer == expected, (pointer, expected)
            expected += length * size
        assert expected == len(tokens), (expected, len(tokens))
        return [
            [
                token
                for sequence in range(first, last)
                for token in struct.unpack_from(f"<{lengths[sequence]}{TYPES[code]}", tokens, pointers[sequence])
            ]
            for first, last in zip(document_indices, document_indices[1:])
        ]
