#pragma once

#include <string_view>

namespace weft {

/// Where a mechanism comes from; `arxiv` is empty for what is not on arXiv.
struct Paper {
  std::string_view title;
  std::string_view arxiv;
};

/// The verbs that a variant has.
struct Modes {
  bool forward = false;  ///< the whole sequence at once
  bool prefill = false;  ///< a chunk that reads and advances a state
  bool step = false;     ///< one token
};
inline constexpr Modes kForward{.forward = true};
inline constexpr Modes kAllVerbs{.forward = true, .prefill = true, .step = true};

struct CatalogEntry {
  std::string_view family;   ///< folder of its engine: softmax, layer, ...
  std::string_view name;     ///< unique within the family
  std::string_view header;   ///< what to include
  std::string_view use;      ///< how it is written in code
  std::string_view summary;  ///< what it computes, half a line
  Modes modes;
  Paper paper;
};

}  // namespace weft
