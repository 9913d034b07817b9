// error: the first policy of Softmax must model Mask

#include <weft/attention/softmax/mixer.hpp>

#if defined(WEFT_WRONG)
weft::Softmax<weft::SoftCap> mixer{};
#else
weft::Softmax<weft::NoMask, weft::SoftCap> mixer{};
#endif
