#pragma once

#include <weft/core/view.hpp>

#include <unistd.h>

#include <cstdio>
#include <string>

namespace compress_model {

/// A bar on the standard error stream, which is wiped out at the end.
class Progress {
 public:
  enum class When { terminal, always, never };

  explicit Progress(When when = When::terminal)
      : shown_(when == When::always || (when == When::terminal && isatty(STDERR_FILENO) == 1)) {}

  /// `done` of `all` steps are done, and `doing` comes now.
  void at(weft::Index done, weft::Index all, const std::string& doing) {
    constexpr weft::Index kWidth = 30;
    if (!shown_) return;
    const auto filled = static_cast<std::size_t>(all == 0 ? kWidth : done * kWidth / all);
    std::fprintf(stderr, "\r[%s%s] %3td %%  %-40.40s", std::string(filled, '#').c_str(),
                 std::string(kWidth - filled, ' ').c_str(), all == 0 ? 100 : done * 100 / all,
                 doing.c_str());
  }

  void done() {
    if (shown_) std::fprintf(stderr, "\r%80s\r", "");
  }

 private:
  bool shown_;
};

}  // namespace compress_model
