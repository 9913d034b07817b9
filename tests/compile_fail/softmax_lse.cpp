// error: the results of this normalizer do not merge by a log-sum-exp: call forward

#include <weft/attention/softmax/clipped.hpp>
#include <weft/attention/softmax/mixer.hpp>

void attend(weft::View<const float, 4> x, weft::View<float, 4> out, weft::View<float, 3> lse) {
  const weft::Softmax mixer{weft::NoMask{}, weft::NoScore{}, weft::ClippedSoftmax{}};
#if defined(WEFT_WRONG)
  weft::forward_with_lse(mixer, x, x, x, out, lse);
#else
  weft::forward(mixer, x, x, x, out);
  weft::forward_with_lse(weft::Softmax{}, x, x, x, out, lse);
#endif
}
