#pragma once

#include <weft/core/tensor.hpp>

#include <cstddef>
#include <memory>
#include <vector>

namespace weft {

/// Temporary memory of one worker: a stack of bytes that grows when it must and then stays.
///
/// Allocation is a pointer increment. Memory is given back by leaving the `Frame` in which it was
/// taken; when the last frame ends, an arena that had to grow replaces its pieces by one block of
/// their total size. So a loop over the same work allocates in its first turn only.
class Arena {
 public:
  Arena() = default;
  Arena(Arena&&) = default;
  Arena& operator=(Arena&&) = default;

  /// Uninitialised memory for `count` elements, 64-byte aligned, valid until the frame ends.
  template <class T>
  T* take(Index count) {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
    const auto line = static_cast<Index>(kAlignment);
    const Index bytes = (count * static_cast<Index>(sizeof(T)) + line - 1) / line * line;
    if (blocks_.empty() || used_ + bytes > blocks_.back().bytes) grow(bytes);
    std::byte* at = blocks_.back().data.get() + used_;
    used_ += bytes;
    return reinterpret_cast<T*>(at);
  }

  /// Makes room for `bytes` in one block beforehand. Only outside all frames.
  void reserve(Index bytes) {
    require(frames_ == 0, "Arena::reserve inside a frame");
    if (capacity() >= bytes) return;
    blocks_.clear();
    used_ = 0;
    grow(bytes);
  }

  /// Bytes held.
  Index capacity() const noexcept {
    Index total = 0;
    for (const Block& block : blocks_) total += block.bytes;
    return total;
  }

  /// Everything taken while a frame lives is given back when it ends.
  class Frame {
   public:
    explicit Frame(Arena& arena) noexcept
        : arena_(arena), blocks_(arena.blocks_.size()), used_(arena.used_) {
      ++arena_.frames_;
    }
    ~Frame() { arena_.leave(blocks_, used_); }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Arena& arena_;
    std::size_t blocks_;
    Index used_;
  };

 private:
  struct Block {
    std::unique_ptr<std::byte[], detail::AlignedDelete> data;
    Index bytes;
  };

  void grow(Index bytes) {
    const Index size = std::max(bytes, std::max<Index>(capacity(), 4096));
    blocks_.push_back({detail::aligned_array<std::byte>(size), size});
    used_ = 0;
  }

  void leave(std::size_t blocks, Index used) noexcept {
    --frames_;
    // Blocks that came inside an inner frame stay, but only as the top of the stack: what lies
    // below them in use is still addressed by the outer frames.
    if (blocks == blocks_.size()) used_ = used;
    if (frames_ != 0) return;
    used_ = 0;
    if (blocks_.size() > 1) merge();
  }

  void merge() noexcept {
    const Index total = capacity();
    blocks_.clear();
    try_grow(total);
  }

  /// The merged block is a convenience: when memory is short the arena simply starts empty.
  void try_grow(Index bytes) noexcept {
    auto* raw =
        ::operator new(static_cast<std::size_t>(bytes), std::align_val_t{kAlignment}, std::nothrow);
    if (raw == nullptr) return;
    std::unique_ptr<std::byte[], detail::AlignedDelete> data(static_cast<std::byte*>(raw));
    blocks_.push_back({std::move(data), bytes});
  }

  std::vector<Block> blocks_;
  Index used_ = 0;
  int frames_ = 0;
};

}  // namespace weft
