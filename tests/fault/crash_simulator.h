// What a disk holds after a crash: a file system in memory that knows, besides what programs see, what is durable. It
// is fed with a journal of the shim and then written out as it would be found after the machine came back.
#pragma once

#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/fault/journal.h"
#include "trainer/file.h"

namespace retain::fault {

/// All records of a journal, in order.
std::vector<Record> read_journal(const Path& path);

enum class Loss : uint8_t {
  kNothing,  ///< the processes died, the machine did not
  kData,     ///< power cut: file contents that were not synced are lost, names are kept
  kNames,    ///< power cut: names that were not synced by their directory are lost as well
  kRandom,   ///< power cut: any part of what was not synced is lost, writes one by one, names from some point on
};

class Disk {
 public:
  /// Starts with the tree below `root`, all of it durable.
  explicit Disk(const Path& root);
  /// A change by its journal record; `torn`: only half of a write.
  void apply(const Record& record, bool torn = false);
  /// Writes the tree that is found after a crash now into the new directory `target`.
  void materialize(const Path& target, Loss loss, uint64_t seed = 0) const;

 private:
  using Entries = std::map<std::string, int>;  // name -> inode
  struct Write {
    int64_t offset = 0;
    std::string data;
  };
  struct Inode {
    bool directory = false;
    Entries entries;
    std::vector<Entries> unsynced_entries;  // the entries before each change since the last sync; the first is durable
    std::string data, durable;
    std::vector<Write> unsynced;
  };

  int read_tree(const Path& path);
  int find(const std::string& path) const;
  /// The directory of the path, about to change.
  Inode& change_parent(const std::string& path);
  std::string name_of(const std::string& path) const;
  void write_out(int inode, const Path& target, Loss loss, std::mt19937_64& random) const;

  std::string root_;
  std::vector<Inode> inodes_;
};

}  // namespace retain::fault
