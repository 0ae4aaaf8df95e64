#!/usr/bin/env python3
"""A corpus of source code and documentation from Debian's packages, the same on every machine for the same versions:
one JSON object a file, {"text": …}, for `retain data prepare`; packed so that it can be carried to machines without a
network.

    tests/bench/debian_corpus.py DIR [--megabytes 362] [--debs DIR] [PACKAGE…]

writes DIR/train.jsonl.xz, DIR/valid.jsonl.xz and DIR/sources.txt (packages, versions, bytes of text). There:

    xz -dc train.jsonl.xz | retain data prepare - --text-key text --out data/debian_train
    xz -dc valid.jsonl.xz | retain data prepare - --text-key text --out data/debian_valid

Taken are files of text in UTF-8 of 256 B to 256 KiB, each text once, of code without the register tables of one driver
that are a third of Linux. A file's place is by the hash of its text: which are taken when there are more than wanted, and
which are for validation (half a percent). Within the file they stand by path, which xz likes.
"""
import argparse, glob, hashlib, json, lzma, os, subprocess, sys, tarfile, tempfile

PACKAGES = "linux-source-6.1 golang-1.19-src perl-doc python3.11-doc".split()
SUFFIXES = tuple(".c .h .S .rs .go .py .pl .pm .pod .rst .txt .md .el .sh .dts .dtsi".split())
SKIPPED = ("/drivers/gpu/drm/amd/include/",)
LEAST_BYTES, MOST_BYTES = 256, 256 << 10
VALID_SHARE = 0.005
DICTIONARY_BYTES = 64 << 20  # what the machine that unpacks needs of memory


def download(packages, folder):
    for package in packages:
        if not glob.glob(os.path.join(folder, package + "_*.deb")):
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        yield package, sorted(glob.glob(os.path.join(folder, package + "_*.deb")))[-1]


def files(stream, prefix):
    """Path and content of every file of a tar, and of the tars in it."""
    with tarfile.open(fileobj=stream, mode="r|*") as tar:
        for member in tar:
            if not member.isfile():
                continue
            path = prefix + member.name.removeprefix("./")
            if member.name.endswith((".tar.xz", ".tar.gz", ".tar.bz2")):
                yield from files(tar.extractfile(member), path + "/")
            elif member.name.endswith(SUFFIXES) and LEAST_BYTES <= member.size <= MOST_BYTES:
                yield path, tar.extractfile(member).read()


def documents(deb, package):
    unpacked = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    for path, content in files(unpacked.stdout, package + "/"):
        if not any(part in path for part in SKIPPED) and b"\0" not in content:
            try:
                yield path, content.decode("utf-8")
            except UnicodeDecodeError:
                pass
    if unpacked.wait() != 0:
        sys.exit(f"debian_corpus: dpkg-deb {deb} ended with {unpacked.returncode}")


def pack(path, texts):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": DICTIONARY_BYTES}]
    with lzma.open(path, "wt", encoding="utf-8", filters=filters) as out:
        for text in texts:
            out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    return os.path.getsize(path)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("dir")
    arguments.add_argument("packages", nargs="*", default=PACKAGES)
    arguments.add_argument("--megabytes", type=float, default=362, help="of text (10^6 bytes); 362 if not given")
    arguments.add_argument("--debs", help="where packages are kept; a folder of its own that goes, if not given")
    options = arguments.parse_args()
    os.makedirs(options.dir, exist_ok=True)
    found, sources = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        for package, deb in download(options.packages, options.debs or scratch):
            before = sum(len(text) for _, text in found.values())
            for path, text in documents(deb, package):
                digest = hashlib.sha256(text.encode()).digest()
                found.setdefault(digest, (path, text))
            size = sum(len(text) for _, text in found.values()) - before
            sources.append(f"{os.path.basename(deb)} {size} characters of text\n")
            print(sources[-1], end="", flush=True)
    chosen, size = [], 0
    for digest in sorted(found):
        size += len(found[digest][1].encode())
        if size > options.megabytes * 1e6:
            break
        chosen.append(digest)
    is_valid = lambda digest: int.from_bytes(digest[-8:], "big") < VALID_SHARE * 2**64
    for name, wanted in (("train", lambda d: not is_valid(d)), ("valid", is_valid)):
        texts = [text for _, text in sorted(found[digest] for digest in chosen if wanted(digest))]
        packed = pack(os.path.join(options.dir, name + ".jsonl.xz"), texts)
        size = sum(len(text.encode()) for text in texts)
        sources.append(f"{name}: {len(texts)} documents, {size} bytes of text in {packed}\n")
        print(sources[-1], end="", flush=True)
    with open(os.path.join(options.dir, "sources.txt"), "w") as out:
        out.writelines(sources)


main()
