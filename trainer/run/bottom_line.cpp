#include "trainer/run/bottom_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "kernels/core/error.h"

namespace retain {

namespace {

constexpr const char* kEraseLine = "\r\x1b[K";

}  // namespace

int columns_of_terminal(int descriptor) {
  const char* const kind = std::getenv("TERM");
  if (::isatty(descriptor) != 1 || !kind || std::string_view(kind) == "dumb") return 0;
  const pid_t foreground = ::tcgetpgrp(descriptor);  // -1: of another session's terminal
  if (foreground > 0 && foreground != ::getpgrp()) return 0;
  winsize size{};
  return ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

std::string BottomLine::replace_by(std::string text) {
  if (text == text_) return {};
  text_ = std::move(text);
  return kEraseLine + text_;
}

std::string BottomLine::under(std::string_view lines) const {
  return text_.empty() ? std::string(lines) : concat(kEraseLine, lines, text_);
}

}  // namespace retain
