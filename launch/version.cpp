#include "launch/version.h"

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "commit.h"

namespace retain {

namespace {

constexpr char kGnu[] = "GNU";

std::string in_hexadecimal(const unsigned char* bytes, size_t count) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < count; ++i) text += {kDigits[bytes[i] >> 4], kDigits[bytes[i] & 15]};
  return text;
}

/// Reads the notes of an object; 1: no other is to be looked at.
int add_build_id(const dl_phdr_info& object, std::string& id) {
  for (size_t i = 0; i < object.dlpi_phnum; ++i) {
    const auto& part = object.dlpi_phdr[i];
    if (part.p_type != PT_NOTE) continue;
    // The loader gives addresses as numbers.  NOLINTNEXTLINE(performance-no-int-to-ptr)
    const auto* const begin = reinterpret_cast<const unsigned char*>(object.dlpi_addr + part.p_vaddr);
    const auto padded = [](size_t bytes) { return (bytes + 3) / 4 * 4; };
    for (size_t at = 0; at + sizeof(ElfW(Nhdr)) <= part.p_memsz;) {
      ElfW(Nhdr) note;
      std::memcpy(&note, begin + at, sizeof note);
      const size_t name_at = at + sizeof note, hash_at = name_at + padded(note.n_namesz);
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof kGnu &&
          std::memcmp(begin + name_at, kGnu, sizeof kGnu) == 0) {
        id = in_hexadecimal(begin + hash_at, note.n_descsz);
      }
      at = hash_at + padded(note.n_descsz);
    }
  }
  return 1;
}

}  // namespace

std::string version() { return RETAIN_VERSION; }
std::string compiler() { return "g++ " __VERSION__; }
std::string commit() { return RETAIN_COMMIT; }

std::string build_id() {
  std::string id;
  // The first object is the program itself.
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* found) { return add_build_id(*info, *static_cast<std::string*>(found)); },
      &id);
  return id.empty() ? "unknown" : id;
}

}  // namespace retain
