#include "tests/fault/crash_simulator.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

namespace retain::fault {

namespace {

std::string read_all(const Path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void put(std::string& to, int64_t offset, const std::string& data) {
  const size_t begin = static_cast<size_t>(offset);
  if (to.size() < begin + data.size()) to.resize(begin + data.size(), '\0');
  to.replace(begin, data.size(), data);
}

}  // namespace

std::vector<Record> read_journal(const Path& path) {
  const std::string text = read_all(path);
  std::vector<Record> records;
  for (size_t at = 0; at < text.size();) {
    Record record;
    std::memcpy(&record.header, text.data() + at, sizeof record.header);
    at += sizeof record.header;
    const auto take = [&](size_t bytes) {
      const std::string part = text.substr(at, bytes);
      at += bytes;
      return part;
    };
    record.path = take(record.header.path_bytes);
    record.path2 = take(record.header.path2_bytes);
    record.data = take(static_cast<size_t>(record.header.data_bytes));
    records.push_back(std::move(record));
  }
  return records;
}

Disk::Disk(const Path& root) : root_(root.string()) { read_tree(root); }

int Disk::read_tree(const Path& path) {
  const int number = static_cast<int>(inodes_.size());
  inodes_.emplace_back();
  if (!std::filesystem::is_directory(path)) {
    inodes_.back().data = inodes_.back().durable = read_all(path);
    return number;
  }
  Entries entries;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    entries[entry.path().filename()] = read_tree(entry.path());
  }
  Inode& inode = inodes_[static_cast<size_t>(number)];
  inode.directory = true;
  inode.entries = std::move(entries);
  return number;
}

int Disk::find(const std::string& path) const {
  RETAIN_CHECK(path.starts_with(root_), path);
  int at = 0;
  for (size_t begin = root_.size(); begin < path.size();) {
    const size_t end = std::min(path.find('/', begin + 1), path.size());
    const Entries& entries = inodes_[static_cast<size_t>(at)].entries;
    const auto found = entries.find(path.substr(begin + 1, end - begin - 1));
    RETAIN_CHECK(found != entries.end(), "the journal speaks of ", path, ", which does not exist");
    at = found->second;
    begin = end;
  }
  return at;
}

std::string Disk::name_of(const std::string& path) const { return path.substr(path.rfind('/') + 1); }

Disk::Inode& Disk::change_parent(const std::string& path) {
  Inode& parent = inodes_[static_cast<size_t>(find(path.substr(0, path.rfind('/'))))];
  parent.unsynced_entries.push_back(parent.entries);
  return parent;
}

void Disk::apply(const Record& record, bool torn) {
  const std::string& path = record.path;
  switch (record.header.call) {
    case Call::kCreate:
    case Call::kMakeDirectory: {
      if (path == root_) return;  // it is there already
      const int number = static_cast<int>(inodes_.size());
      inodes_.emplace_back();
      inodes_.back().directory = record.header.call == Call::kMakeDirectory;
      change_parent(path).entries[name_of(path)] = number;
      return;
    }
    case Call::kWrite: {
      Inode& inode = inodes_[static_cast<size_t>(find(path))];
      const std::string data = torn ? record.data.substr(0, record.data.size() / 2) : record.data;
      put(inode.data, record.header.offset, data);
      inode.unsynced.push_back({record.header.offset, data});
      return;
    }
    case Call::kAllocate:
    case Call::kTruncate: {
      Inode& inode = inodes_[static_cast<size_t>(find(path))];
      const size_t size = static_cast<size_t>(record.header.offset);
      if (record.header.call == Call::kTruncate || size > inode.data.size()) inode.data.resize(size, '\0');
      return;
    }
    case Call::kSync: {
      Inode& inode = inodes_[static_cast<size_t>(find(path))];
      inode.durable = inode.data;
      inode.unsynced.clear();
      inode.unsynced_entries.clear();
      return;
    }
    case Call::kRename: {
      const int number = find(path);
      change_parent(path).entries.erase(name_of(path));
      change_parent(record.path2).entries[name_of(record.path2)] = number;
      return;
    }
    case Call::kExchange: {
      const int first = find(path), second = find(record.path2);
      change_parent(path).entries[name_of(path)] = second;
      change_parent(record.path2).entries[name_of(record.path2)] = first;
      return;
    }
    case Call::kLink: {
      const int number = find(path);
      change_parent(record.path2).entries[name_of(record.path2)] = number;
      return;
    }
    case Call::kUnlink:
    case Call::kRemoveDirectory: change_parent(path).entries.erase(name_of(path)); return;
  }
}

void Disk::materialize(const Path& target, Loss loss, uint64_t seed) const {
  std::mt19937_64 random(seed);
  write_out(0, target, loss, random);
}

void Disk::write_out(int number, const Path& target, Loss loss, std::mt19937_64& random) const {
  const Inode& inode = inodes_[static_cast<size_t>(number)];
  if (inode.directory) {
    // Points in the directory's history since its last sync; the last one is now.
    const size_t points = inode.unsynced_entries.size() + 1;
    size_t point = points - 1;
    if (loss == Loss::kNames) point = 0;
    if (loss == Loss::kRandom) point = random() % points;
    const Entries& entries = point + 1 == points ? inode.entries : inode.unsynced_entries[point];
    std::filesystem::create_directory(target);
    for (const auto& [name, entry] : entries) write_out(entry, target / name, loss, random);
    return;
  }
  std::string data = loss == Loss::kNothing ? inode.data : inode.durable;
  if (loss == Loss::kRandom) {
    for (const Write& write : inode.unsynced) {
      if (random() % 2 == 0) put(data, write.offset, write.data);
    }
    if (random() % 2 == 0) data.resize(inode.data.size(), '\0');
  }
  std::ofstream(target, std::ios::binary).write(data.data(), static_cast<std::streamsize>(data.size()));
}

}  // namespace retain::fault
