# vitis_hls -f hls.tcl <csim|synth|cosim|ip>, with HW (this project's hw folder) and BUILD (made by `make vectors`) set.
set hw $::env(HW)
set build $::env(BUILD)
source $build/engine.tcl

set step [lindex $argv end]
if {$step ni {csim synth cosim ip}} {
    puts stderr "expected csim, synth, cosim or ip, got '$step'"
    exit 2
}

set flags "-std=c++14 -I$hw/engine -I$build"
open_project -reset hls_$step
set_top edgevision_engine
add_files $hw/engine/engine.cpp -cflags $flags
# Two streams run back, so the processes are threads in C, and reading an empty stream has to wait.
add_files -tb $hw/testbench/main.cpp -cflags "$flags -DHLS_STREAM_THREAD_SAFE -pthread"
open_solution -reset solution -flow_target vivado
set_part $part
create_clock -period [expr {1000.0 / $clock_mhz}] -name default
config_interface -m_axi_addr64=false -m_axi_max_widen_bitwidth 0
config_dataflow -strict_mode warning

switch $step {
    csim { csim_design -argv $build -ldflags "-pthread" }
    synth { csynth_design }
    cosim {
        csynth_design
        cosim_design -argv $build -rtl verilog -ldflags "-pthread"
    }
    ip {
        csynth_design
        export_design -format ip_catalog -vendor edgevision -library engine -ipname edgevision_engine -version 1.0
    }
}
exit
