# vivado -mode batch -source vivado.tcl -tclargs pynq-z2, after `make ip`, with HW and BUILD set.
# Writes engine.bit and engine.hwh into BUILD.
#
# Features are read on HP0, results written on HP1, program and dilations read on HP2.
set build $::env(BUILD)
source $build/engine.tcl
set board [lindex $argv 0]
if {$board ne "pynq-z2"} {
    puts stderr "expected pynq-z2, got '$board': the block design is for the Zynq-7000 only"
    exit 2
}
if {![file isdirectory $build/hls_ip/solution/impl/ip]} {
    puts stderr "expected the IP in $build/hls_ip: run make ip first"
    exit 3
}

create_project -force vivado_engine $build/vivado -part $part
# Drivers refuse a bitstream whose user id is not the engine their program was made for.
set identity [open $build/identity.xdc w]
puts $identity "set_property BITSTREAM.CONFIG.USERID 0x$fingerprint \[current_design\]"
close $identity
add_files -fileset constrs_1 $build/identity.xdc
set_property ip_repo_paths $build/hls_ip/solution/impl/ip [current_project]
update_ip_catalog
create_bd_design engine

set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:processing_system7 ps]
apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 -config {make_external "FIXED_IO, DDR"} $ps
set_property -dict [list CONFIG.PCW_USE_S_AXI_HP0 1 CONFIG.PCW_USE_S_AXI_HP1 1 CONFIG.PCW_USE_S_AXI_HP2 1 \
    CONFIG.PCW_USE_M_AXI_GP0 1 CONFIG.PCW_USE_FABRIC_INTERRUPT 1 CONFIG.PCW_IRQ_F2P_INTR 1 \
    CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $clock_mhz] $ps
set engine [create_bd_cell -type ip -vlnv edgevision:engine:edgevision_engine:1.0 engine]

foreach {master slave} {m_axi_features S_AXI_HP0 m_axi_results S_AXI_HP1 m_axi_program S_AXI_HP2} {
    apply_bd_automation -rule xilinx.com:bd_rule:axi4 -config \
        "Master /engine/$master Slave /ps/$slave intc_ip {New AXI SmartConnect} Clk {Auto}" \
        [get_bd_intf_pins ps/$slave]
}
apply_bd_automation -rule xilinx.com:bd_rule:axi4 -config \
    {Master /engine/m_axi_dilations Slave /ps/S_AXI_HP2 intc_ip {Auto} Clk {Auto}} [get_bd_intf_pins engine/m_axi_dilations]
apply_bd_automation -rule xilinx.com:bd_rule:axi4 -config \
    {Master /ps/M_AXI_GP0 Slave /engine/s_axi_control intc_ip {New AXI SmartConnect} Clk {Auto}} \
    [get_bd_intf_pins engine/s_axi_control]
connect_bd_net [get_bd_pins engine/interrupt] [get_bd_pins ps/IRQ_F2P]

assign_bd_address
validate_bd_design
save_bd_design
make_wrapper -files [get_files engine.bd] -top -import
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
open_run impl_1
report_utilization -file $build/utilization.txt
report_timing_summary -file $build/timing.txt
if {[get_property SLACK [get_timing_paths]] < 0} {
    puts stderr "the clock of $clock_mhz MHz is not met, see $build/timing.txt; lower clock_mhz of the target"
    exit 5
}
file copy -force $build/vivado/vivado_engine.runs/impl_1/engine_wrapper.bit $build/engine.bit
file copy -force [glob $build/vivado/vivado_engine.gen/sources_1/bd/engine/hw_handoff/engine.hwh] $build/engine.hwh
exit
