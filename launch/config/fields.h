// What makes a field of the table in launch/config/schema.cpp: a place in the configuration, and one function for each
// kind of value that binds the place to how the value is read, bounded and printed. Private to schema.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "launch/config/schema.h"

namespace retain::schema {

using Names = std::vector<std::string>;

// ---- places ----

/// One value of a Config: to be read and to be written.
template <class T>
struct Place {
  std::function<T(const Config&)> get;
  std::function<void(Config&, T)> set;
};

/// What a member is to the table: whole numbers of all widths and the values of enumerations are an int64_t.
template <class Member>
using ValueOf =
    std::conditional_t<std::is_enum_v<Member> || (std::is_integral_v<Member> && !std::is_same_v<Member, bool>), int64_t,
                       Member>;

template <class Member>
Place<ValueOf<Member>> at(Member Config::*member) {
  using T = ValueOf<Member>;
  return {[=](const Config& c) { return static_cast<T>(c.*member); },
          [=](Config& c, T value) { c.*member = static_cast<Member>(std::move(value)); }};
}

template <class Section, class Member>
Place<ValueOf<Member>> at(Section Config::*section, Member Section::*member) {
  using T = ValueOf<Member>;
  return {[=](const Config& c) { return static_cast<T>(c.*section.*member); },
          [=](Config& c, T value) { c.*section.*member = static_cast<Member>(std::move(value)); }};
}

// ---- bounds ----

constexpr int64_t kMostTokens = 1'000'000'000'000'000'000;  // leaves room for sums

/// Whole numbers from low to high. A `high` of kMostTokens or more is not worth telling.
struct Bounds {
  int64_t low = 0, high = std::numeric_limits<int64_t>::max();
  std::string describe() const;
};

/// Real numbers from low to high, without an end that is open.
struct Interval {
  double low = 0, high = std::numeric_limits<double>::max();
  bool low_open = false, high_open = false;
  bool holds(double x) const { return (low_open ? x > low : x >= low) && (high_open ? x < high : x <= high); }
  std::string describe() const;
};

constexpr Interval kPositive = {.low_open = true};

// ---- fields ----

/// `zero_word`: how 0 is written and also read ("auto"), or "".
Field whole(std::string path, Place<int64_t> place, Bounds bounds, std::string unit, std::string doc,
            std::string zero_word = "");
Field real(std::string path, Place<double> place, Interval interval, std::string doc);
Field on_off(std::string path, Place<bool> place, std::string doc);
/// `names`: those of an enumeration's values, which start at 0 and have no holes.
Field choice(std::string path, Place<int64_t> place, Names names, std::string doc);
Field text(std::string path, Place<std::string> place, bool is_path, std::string doc);

/// optimizer.betas, data.train and data.valid: each the only one of its kind.
Field betas();
Field train_sources();
Field valid_sets();

}  // namespace retain::schema
