// error: the second policy of Softmax must model Score

#include <weft/attention/softmax/mixer.hpp>

#if defined(WEFT_WRONG)
weft::Softmax<weft::NoMask, weft::Causal> mixer{};
#else
weft::Softmax<weft::Causal> mixer{weft::Causal{weft::Align::bottom_right}};
#endif
