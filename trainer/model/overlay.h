// Users of memory that are never at work at the same time take the same part of an arena.
#pragma once

#include <algorithm>

#include "kernels/core/memory.h"

namespace retain {

/// While it lives; at its end the arena goes on after the largest part.
class Overlay {
 public:
  explicit Overlay(Arena& arena) : arena_(arena), begin_(arena.mark()), end_(begin_) {}
  ~Overlay() { arena_.rewind(std::max(end_, arena_.mark())); }
  Overlay(const Overlay&) = delete;
  Overlay& operator=(const Overlay&) = delete;

  /// What is taken from now on lies where the first part does.
  void next() {
    end_ = std::max(end_, arena_.mark());
    arena_.rewind(begin_);
  }

 private:
  Arena& arena_;
  int64_t begin_, end_;
};

}  // namespace retain
