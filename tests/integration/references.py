"""Every file that a comment or a page refers to is in the tree, and so is the heading behind a '#'.

    references.py SOURCE_DIR

Looked at: pages by name (spec.md, kernels/README.md#rotation), files by their path from the root
(trainer/step.cpp), and in pages files of code by name alone (`boxes.h`).
"""
import pathlib
import re
import sys

ROOMS = ("kernels", "parallel", "trainer", "launch", "configs", "tests")
READ = {".h", ".cpp", ".cu", ".cuh", ".inc", ".sh", ".py", ".md", ".txt", ".yaml"}
PAGE = re.compile(r"(?<![\w/.:-])((?:\.\./)*(?:[\w-]+/)*[\w-]+\.md)(#[\w-]+)?\b")
ANCHOR = re.compile(r"\]\((#[\w-]+)\)")
PATH = re.compile(r"(?<![\w/.-])((?:%s)/[\w./-]*\w\.(?:h|cpp|cu|cuh|inc|sh|py|yaml))\b" % "|".join(ROOMS))
NAME = re.compile(r"`((?:[\w-]+/)*[\w-]+\.(?:h|cpp|cu|cuh|inc))`")


def slug(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(page):
    return {slug(line.lstrip("#")) for line in page.read_text().splitlines() if re.match(r"#+ ", line)}


def references(text, is_page):
    for match in PAGE.finditer(text):
        yield match.start(), match[1], match[2]
    for match in PATH.finditer(text):
        yield match.start(), match[1], None
    for match in NAME.finditer(text) if is_page else ():
        yield match.start(), match[1], None
    for match in ANCHOR.finditer(text) if is_page else ():
        yield match.start(), "", match[1]


def is_in_tree(root, source, name):
    return any((place / name).parent.is_dir() for place in (root, source.parent))


def main(root):
    files = [root / "README.md", root / "CHANGELOG.md", root / "CMakeLists.txt"]
    for room in ROOMS:
        files += sorted(p for p in (root / room).rglob("*") if p.suffix in READ)
    paths = {str(p.relative_to(root)) for p in files}
    problems, seen = [], 0
    for source in files:
        if source.name in ("references.py", "CHANGELOG.md"):
            continue
        text = source.read_text(errors="replace")
        here = str(source.relative_to(root))
        for at, name, anchor in references(text, source.suffix == ".md"):
            if name.endswith(".pb.h") or "CMakeFiles/" in name:  # written by protoc, or by a build
                continue
            if text[max(0, at - 1)] == ">" or (here.startswith("tests/") and name and not is_in_tree(root, source, name)):
                continue  # what a command writes, or a test
            seen += 1
            place = f"{here}:{text.count(chr(10), 0, at) + 1}"
            target = source if not name else next((p for p in (root / name, source.parent / name) if p.is_file()), None)
            if not target and any(p.endswith("/" + name) for p in paths):
                continue  # by name alone
            if not target:
                problems.append(f"{place}: {name} does not exist")
            elif anchor and anchor[1:] not in headings(target):
                problems.append(f"{place}: {target.relative_to(root)} has no heading {anchor}")
    print(*problems, sep="\n")
    print(f"{seen} references, {len(problems)} of them to nothing")
    return 1 if problems or not seen else 0


sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
