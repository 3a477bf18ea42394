// Runs one program on one image and compares all feature maps: for C simulation and co-simulation in Vitis HLS, and for
// g++. Reads program.bin, before.bin (the maps with the image), after.bin and mask.bin (which bits
// count) from the folder given, as edgevision.engine.project writes them.
#include <cstdio>
#include <string>
#include <vector>

#include "engine.h"

static std::vector<unsigned char> contents(const std::string &path) {
    std::vector<unsigned char> bytes;
    FILE *file = std::fopen(path.c_str(), "rb");
    if (!file) {
        std::printf("expected a file %s\n", path.c_str());
        return bytes;
    }
    int next;
    while ((next = std::fgetc(file)) != EOF) bytes.push_back((unsigned char)next);
    std::fclose(file);
    return bytes;
}

template <typename T>
static std::vector<T> packed(const std::vector<unsigned char> &bytes) {
    const size_t size = T::width / 8;
    std::vector<T> values(bytes.size() / size);
    for (size_t at = 0; at < values.size(); at++)
        for (size_t byte = 0; byte < size; byte++) values[at].range(8 * byte + 7, 8 * byte) = bytes[at * size + byte];
    return values;
}

int main(int count, char **arguments) {
    const std::string folder = count > 1 ? arguments[1] : ".";
    std::vector<engine::Word> program = packed<engine::Word>(contents(folder + "/program.bin"));
    std::vector<engine::AxiWord> maps = packed<engine::AxiWord>(contents(folder + "/before.bin"));
    const std::vector<engine::AxiWord> wanted = packed<engine::AxiWord>(contents(folder + "/after.bin"));
    const std::vector<engine::AxiWord> mask = packed<engine::AxiWord>(contents(folder + "/mask.bin"));
    if (program.empty() || maps.empty() || maps.size() != wanted.size() || maps.size() != mask.size()) {
        std::printf("expected a program, and maps before, after and their mask of one size\n");
        return 2;
    }
    ap_uint<32> finished = 0;
    edgevision_engine(program.data(), program.size(), maps.data(), maps.data(), maps.data(), finished);
    size_t wrong = 0;
    for (size_t at = 0; at < maps.size(); at++) wrong += ((maps[at] ^ wanted[at]) & mask[at]) != 0;
    std::printf("%u calls, %zu of %zu words of the maps differ\n", finished.to_uint(), wrong, maps.size());
    return wrong != 0;
}
