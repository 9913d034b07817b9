#pragma once

#include <weft/core/check.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

namespace weft {

/// Writes a file that appears all at once: bytes go to a temporary neighbour, which `commit`
/// flushes to the disk and renames to the final name. Whoever reads that name sees the old file or
/// the whole new one, never a part. Without `commit` the destructor removes the temporary.
///
/// Throws weft::error naming the file when a step fails.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
    // A process writes under its own name; the counter serves its threads.
    for (int attempt = 0; descriptor_ < 0; ++attempt) {
      temporary_ = path_.string() + "." + std::to_string(::getpid()) + "-" +
                   std::to_string(attempt) + ".tmp";
      descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      check(descriptor_ >= 0 || errno == EEXIST, "create a temporary file beside");
    }
  }

  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    ::unlink(temporary_.c_str());
  }

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ::ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
      check(written >= 0 || errno == EINTR, "write");
      if (written > 0) bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }

  void commit() {
    check(::fsync(descriptor_) == 0, "flush");
    check(std::rename(temporary_.c_str(), path_.c_str()) == 0, "rename the temporary file to");
    ::close(std::exchange(descriptor_, -1));
  }

 private:
  void check(bool ok, const char* step) const {
    if (!ok)
      fail("cannot " + std::string(step) + " " + path_.string() + ": " + std::strerror(errno));
  }

  std::filesystem::path path_;
  std::string temporary_;
  int descriptor_ = -1;
};

}  // namespace weft
