// error: prefill and step need a mask that hides later tokens: combine yours with Causal

#include <weft/attention/softmax/stream.hpp>

weft::KvCache<float> cache() {
#if defined(WEFT_WRONG)
  const weft::Softmax mixer{weft::FirstKeys{4}};
#else
  const weft::Softmax mixer{weft::And{weft::Causal{weft::Align::bottom_right}, weft::FirstKeys{4}}};
#endif
  return make_state(mixer, {.batch = 1, .kv_heads = 1, .capacity = 8, .key_dim = 4});
}
