#include "generate/softmax_mixer.hpp"
#include "language_model_impl.hpp"

namespace compress_model {

using Mixer = generate::BasicSoftmaxMixer<Linear>;

template struct CompressedLanguageModel<Mixer>;
template CompressedLanguageModel<Mixer> compress_language_model<Mixer>(
    std::shared_ptr<const weft::SafetensorsFile>, const Method&, std::span<const std::uint8_t>,
    const Context&, Progress&);
template CompressedLanguageModel<Mixer> load_language_model<Mixer>(const std::filesystem::path&,
                                                                   const std::string&);

}  // namespace compress_model
