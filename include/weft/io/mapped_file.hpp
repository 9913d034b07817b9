#pragma once

#include <weft/core/check.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

namespace weft {

/// A whole file seen as read-only memory (POSIX mmap).
///
/// Pages come from the disk when they are first touched, so opening costs nothing and several
/// processes share one copy of a model. Moving keeps the address; views into the map are valid as
/// long as the MappedFile (or what it was moved to) lives. As with every map, another program that
/// shortens the file meanwhile makes later reads of the lost pages fail with SIGBUS.
///
/// Throws weft::error naming the file when it cannot be opened, is no regular file, or cannot be
/// mapped. An empty file is an empty span.
class MappedFile {
 public:
  MappedFile() = default;

  explicit MappedFile(const std::filesystem::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) refuse(path, "cannot open", errno);
    struct stat status {};
    const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
    const auto bytes = static_cast<std::size_t>(status.st_size);
    void* at = nullptr;
    if (regular && bytes != 0) at = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
    const int cause = errno;
    ::close(descriptor);
    require(regular, path.string(), ": not a regular file");
    if (at == MAP_FAILED) refuse(path, "cannot map", cause);
    bytes_ = {static_cast<const std::byte*>(at), bytes};
  }

  MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MappedFile() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }

  std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  [[noreturn]] static void refuse(const std::filesystem::path& path, const char* what, int cause) {
    fail(path.string() + ": " + what + " the file: " + std::strerror(cause));
  }

  std::span<const std::byte> bytes_;
};

}  // namespace weft
