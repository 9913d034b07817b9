// error: the third policy of Softmax must model Normalizer

#include <weft/attention/softmax/mixer.hpp>

#if defined(WEFT_WRONG)
weft::Softmax<weft::NoMask, weft::NoScore, weft::NoMask> mixer{};
#else
weft::Softmax<weft::NoMask, weft::NoScore, weft::OffByOneSoftmax> mixer{};
#endif
