// The header of a safetensors file: JSON text to checked entries and back, without a file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "trainer/interop/safetensors.h"

namespace retain {

inline constexpr int64_t kSafetensorsMaxHeaderBytes = 100'000'000;

/// Position of a type in the official list, from the lowest; -1 when there is no such type.
int safetensors_dtype_order(std::string_view dtype);
/// Bits of one element of a type of the list.
int64_t safetensors_dtype_bits(std::string_view dtype);

/// Parses and checks: keys, types, shapes, sizes, duplicates, and that the tensors cover data_bytes without a hole or
/// an overlap. `path` is for messages. Throws Error(kData).
SafetensorsHeader parse_safetensors_header(std::string_view json, int64_t data_bytes, const std::string& path);

/// The header's text, padded to a multiple of 8 bytes. Entries are written as they come.
std::string format_safetensors_header(const SafetensorsHeader& header);

}  // namespace retain
