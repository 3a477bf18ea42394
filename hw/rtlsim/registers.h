// The processor's side of the engine's registers: writes what a run needs, starts it, and reads how far it is until the
// interrupt comes.
#pragma once
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

namespace registers {

enum Address : uint8_t {
    CONTROL = 0x00, INTERRUPTS = 0x04, ENABLE = 0x08, PROGRAM = 0x10, WORDS = 0x1c, FEATURES = 0x24, DILATIONS = 0x30,
    RESULTS = 0x3c, FINISHED = 0x48
};

class Master {
public:
    explicit Master(std::deque<std::pair<Address, uint32_t>> writes) : writes_(std::move(writes)) {}

    bool done() const { return complete_; }
    uint64_t started() const { return started_; }
    uint64_t ended() const { return ended_; }
    uint32_t finished() const { return uint32_t(call_ends_.size()); }
    const std::vector<uint64_t> &call_ends() const { return call_ends_; }

    template <typename Top>
    void drive(Top &top) {
        top.s_axi_control_awvalid = top.s_axi_control_wvalid = !writes_.empty();
        if (!writes_.empty()) {
            top.s_axi_control_awaddr = writes_.front().first;
            top.s_axi_control_wdata = writes_.front().second;
        }
        top.s_axi_control_wstrb = 15;
        top.s_axi_control_bready = top.s_axi_control_rready = 1;
        top.s_axi_control_arvalid = writes_.empty() && !reading_ && !complete_;
        top.s_axi_control_araddr = FINISHED;
    }

    template <typename Top>
    void accept(Top &top, uint64_t cycle) {
        if (top.s_axi_control_awvalid && top.s_axi_control_awready) {
            if (writes_.front().first == CONTROL) started_ = cycle;
            writes_.pop_front();
        }
        if (reading_ && top.s_axi_control_rvalid) {
            while (finished() < top.s_axi_control_rdata) call_ends_.push_back(cycle);
            reading_ = false;
            complete_ = after_the_end_;
        }
        if (top.s_axi_control_arvalid && top.s_axi_control_arready) {
            reading_ = true;
            // The last call is known to whoever asks after the interrupt.
            after_the_end_ = ended_ != 0;
        }
        if (top.irq && ended_ == 0) ended_ = cycle;
    }

private:
    std::deque<std::pair<Address, uint32_t>> writes_;
    bool reading_ = false, after_the_end_ = false, complete_ = false;
    uint64_t started_ = 0, ended_ = 0;
    std::vector<uint64_t> call_ends_;
};

}  // namespace registers
