// The engine in SystemVerilog: the processes of hw/engine/engine.cpp side by side, reading the same programs (hw/PROGRAM.md).
//
// One clock, one reset (low when it resets), AXI4-Lite for registers, three ports that read and one that writes. Bursts
// have at most BURST_BEATS beats, which the program keeps to, and do not cross 4 KiB.
module engine #(
    parameter int LANES         = 16,
    parameter int COLUMNS       = 16,
    parameter int SCALE_LANES   = 8,
    parameter int LINE_ROWS     = 16,
    parameter int LINE_VECTORS  = 1024,
    parameter int WEIGHT_BLOCKS = 1024,
    parameter int MAX_PLANES    = 144,
    parameter int MAX_GROUPS    = 256,
    parameter int TILE_VECTORS  = 512,
    parameter int AXI_BITS      = 64,
    parameter int BURST_BEATS   = 16,
    parameter int SUM_BITS      = 24
) (
    input  logic                ap_clk,
    input  logic                ap_rst_n,
    output logic                irq,
    input  logic                s_axi_control_awvalid,
    output logic                s_axi_control_awready,
    input  logic [6:0]          s_axi_control_awaddr,
    input  logic                s_axi_control_wvalid,
    output logic                s_axi_control_wready,
    input  logic [31:0]         s_axi_control_wdata,
    input  logic [3:0]          s_axi_control_wstrb,
    output logic                s_axi_control_bvalid,
    input  logic                s_axi_control_bready,
    output logic [1:0]          s_axi_control_bresp,
    input  logic                s_axi_control_arvalid,
    output logic                s_axi_control_arready,
    input  logic [6:0]          s_axi_control_araddr,
    output logic                s_axi_control_rvalid,
    input  logic                s_axi_control_rready,
    output logic [31:0]         s_axi_control_rdata,
    output logic [1:0]          s_axi_control_rresp,
    output logic [31:0]         m_axi_program_araddr,
    output logic [7:0]          m_axi_program_arlen,
    output logic [2:0]          m_axi_program_arsize,
    output logic [1:0]          m_axi_program_arburst,
    output logic                m_axi_program_arvalid,
    input  logic                m_axi_program_arready,
    input  logic [63        :0] m_axi_program_rdata,
    input  logic                m_axi_program_rlast,
    input  logic                m_axi_program_rvalid,
    output logic                m_axi_program_rready,
    output logic [31:0]         m_axi_features_araddr,
    output logic [7:0]          m_axi_features_arlen,
    output logic [2:0]          m_axi_features_arsize,
    output logic [1:0]          m_axi_features_arburst,
    output logic                m_axi_features_arvalid,
    input  logic                m_axi_features_arready,
    input  logic [AXI_BITS-1:0] m_axi_features_rdata,
    input  logic                m_axi_features_rlast,
    input  logic                m_axi_features_rvalid,
    output logic                m_axi_features_rready,
    output logic [31:0]         m_axi_dilations_araddr,
    output logic [7:0]          m_axi_dilations_arlen,
    output logic [2:0]          m_axi_dilations_arsize,
    output logic [1:0]          m_axi_dilations_arburst,
    output logic                m_axi_dilations_arvalid,
    input  logic                m_axi_dilations_arready,
    input  logic [AXI_BITS-1:0] m_axi_dilations_rdata,
    input  logic                m_axi_dilations_rlast,
    input  logic                m_axi_dilations_rvalid,
    output logic                m_axi_dilations_rready,
    output logic [31:0]         m_axi_results_awaddr,
    output logic [7:0]          m_axi_results_awlen,
    output logic [2:0]          m_axi_results_awsize,
    output logic [1:0]          m_axi_results_awburst,
    output logic                m_axi_results_awvalid,
    input  logic                m_axi_results_awready,
    output logic [AXI_BITS-1:0] m_axi_results_wdata,
    output logic [AXI_BITS/8-1:0] m_axi_results_wstrb,
    output logic                m_axi_results_wlast,
    output logic                m_axi_results_wvalid,
    input  logic                m_axi_results_wready,
    input  logic                m_axi_results_bvalid,
    output logic                m_axi_results_bready
);
    localparam int VECTOR = 8 * LANES;
    localparam logic [2:0] WORD_SIZE = 3'd3, BEAT_SIZE = 3'($clog2(AXI_BITS / 8));
    localparam logic [1:0] INCREASING = 2'b01;
    // Numbers of receivers in the program.
    localparam int LOAD = 0, ARRANGE = 1, DILATION = 2, SPATIAL = 3, SPATIAL_SCALE = 4, POINTWISE = 5, WEIGHTS = 6,
        POINTWISE_SCALE = 7, COLLECT = 8, STORE = 9;

    logic clk, reset;
    assign clk = ap_clk;
    assign reset = !ap_rst_n;

    logic start, handed_out, stored;
    logic [31:0] calls, finished, program_at, words, features_at, dilations_at, results_at;

    registers register_file (
        .clk, .reset, .irq, .start, .idle(handed_out && finished == calls), .finished,
        .program_at, .words, .features_at, .dilations_at, .results_at,
        .aw_valid(s_axi_control_awvalid), .aw_ready(s_axi_control_awready), .aw_address(s_axi_control_awaddr),
        .w_valid(s_axi_control_wvalid), .w_ready(s_axi_control_wready), .w_data(s_axi_control_wdata),
        .w_strobe(s_axi_control_wstrb), .b_valid(s_axi_control_bvalid), .b_ready(s_axi_control_bready),
        .ar_valid(s_axi_control_arvalid), .ar_ready(s_axi_control_arready), .ar_address(s_axi_control_araddr),
        .r_valid(s_axi_control_rvalid), .r_ready(s_axi_control_rready), .r_data(s_axi_control_rdata)
    );
    assign s_axi_control_bresp = '0;
    assign s_axi_control_rresp = '0;

    always_ff @(posedge clk) begin
        if (stored) finished <= finished + 32'd1;
        if (reset || start) finished <= '0;
    end

    logic [9:0] packet_valid, packet_ready;
    logic [639:0] packets;

    packet_queues #(.BURST_BEATS(BURST_BEATS)) queues (
        .clk, .reset, .start, .program_at, .words, .handed_out, .calls,
        .ar_valid(m_axi_program_arvalid), .ar_ready(m_axi_program_arready), .ar_address(m_axi_program_araddr),
        .ar_len(m_axi_program_arlen), .r_valid(m_axi_program_rvalid), .r_ready(m_axi_program_rready),
        .r_data(m_axi_program_rdata), .r_last(m_axi_program_rlast),
        .out_valid(packet_valid), .out_ready(packet_ready), .out_data(packets)
    );

    logic load_valid, load_ready, loaded_valid, loaded_ready, may_valid, may_ready, allowed_valid, allowed_ready;
    logic [VECTOR-1:0] load_data, loaded;

    load #(.LANES(LANES), .MAX_PLANES(MAX_PLANES), .AXI_BITS(AXI_BITS)) loader (
        .clk, .reset, .start, .maps(features_at), .stored, .may_valid, .may_ready,
        .packet_valid(packet_valid[LOAD]), .packet_ready(packet_ready[LOAD]), .packet(packets[64*LOAD +: 64]),
        .ar_valid(m_axi_features_arvalid), .ar_ready(m_axi_features_arready), .ar_address(m_axi_features_araddr),
        .ar_len(m_axi_features_arlen), .r_valid(m_axi_features_rvalid), .r_ready(m_axi_features_rready),
        .r_data(m_axi_features_rdata), .r_last(m_axi_features_rlast),
        .out_valid(load_valid), .out_ready(load_ready), .out_data(load_data)
    );
    fifo #(.WIDTH(VECTOR), .DEPTH(32)) loaded_vectors (
        .clk, .reset, .in_valid(load_valid), .in_ready(load_ready), .in_data(load_data),
        .out_valid(loaded_valid), .out_ready(loaded_ready), .out_data(loaded)
    );

    logic allowed;
    fifo #(.WIDTH(1), .DEPTH(16)) dilations_may (
        .clk, .reset, .in_valid(may_valid), .in_ready(may_ready), .in_data(1'b1),
        .out_valid(allowed_valid), .out_ready(allowed_ready), .out_data(allowed)
    );
    logic d_valid, d_ready, dilation_valid, dilation_ready;
    logic [7:0] d, dilation;
    dilations #(.LANES(LANES), .AXI_BITS(AXI_BITS)) dilation_reader (
        .clk, .reset, .maps(dilations_at), .may_valid(allowed_valid && allowed), .may_ready(allowed_ready),
        .packet_valid(packet_valid[DILATION]), .packet_ready(packet_ready[DILATION]),
        .packet(packets[64*DILATION +: 64]),
        .ar_valid(m_axi_dilations_arvalid), .ar_ready(m_axi_dilations_arready), .ar_address(m_axi_dilations_araddr),
        .ar_len(m_axi_dilations_arlen), .r_valid(m_axi_dilations_rvalid), .r_ready(m_axi_dilations_rready),
        .r_data(m_axi_dilations_rdata), .r_last(m_axi_dilations_rlast),
        .out_valid(d_valid), .out_ready(d_ready), .out_data(d)
    );
    fifo #(.WIDTH(8), .DEPTH(64)) dilation_bytes (
        .clk, .reset, .in_valid(d_valid), .in_ready(d_ready), .in_data(d),
        .out_valid(dilation_valid), .out_ready(dilation_ready), .out_data(dilation)
    );

    logic into_spatial_valid, into_spatial_ready, into_pointwise_valid, into_pointwise_ready;
    logic [VECTOR-1:0] arranged;
    arrange #(.LANES(LANES), .MAX_PLANES(MAX_PLANES), .TILE_VECTORS(TILE_VECTORS)) arranger (
        .clk, .reset,
        .packet_valid(packet_valid[ARRANGE]), .packet_ready(packet_ready[ARRANGE]), .packet(packets[64*ARRANGE +: 64]),
        .in_valid(loaded_valid), .in_ready(loaded_ready), .in_data(loaded),
        .to_spatial_valid(into_spatial_valid), .to_spatial_ready(into_spatial_ready),
        .to_pointwise_valid(into_pointwise_valid), .to_pointwise_ready(into_pointwise_ready), .out_data(arranged)
    );

    // Scaled results of the two units: to each other, and to be stored.
    logic spatial_pointwise_valid, spatial_pointwise_ready, spatial_store_valid, spatial_store_ready;
    logic pointwise_spatial_valid, pointwise_spatial_ready, pointwise_store_valid, pointwise_store_ready;
    logic [VECTOR-1:0] from_spatial, from_pointwise;

    logic windows_valid, windows_ready, sums_valid, sums_ready;
    logic [SUM_BITS*LANES-1:0] windows;
    logic [SUM_BITS*COLUMNS-1:0] sums;

    spatial #(
        .LANES(LANES), .SUM_BITS(SUM_BITS), .MAX_PLANES(MAX_PLANES), .LINE_ROWS(LINE_ROWS), .LINE_VECTORS(LINE_VECTORS)
    ) spatial_unit (
        .clk, .reset,
        .packet_valid(packet_valid[SPATIAL]), .packet_ready(packet_ready[SPATIAL]), .packet(packets[64*SPATIAL +: 64]),
        .features_valid(into_spatial_valid), .features_ready(into_spatial_ready), .features(arranged),
        .pointwise_valid(pointwise_spatial_valid), .pointwise_ready(pointwise_spatial_ready), .pointwise(from_pointwise),
        .dilation_valid, .dilation_ready, .dilation,
        .out_valid(windows_valid), .out_ready(windows_ready), .out_data(windows)
    );
    requantise #(
        .LANES(LANES), .SCALE_LANES(SCALE_LANES), .GROUP(1), .SUM_BITS(SUM_BITS), .MAX_PLANES(MAX_PLANES)
    ) spatial_scale (
        .clk, .reset,
        .packet_valid(packet_valid[SPATIAL_SCALE]), .packet_ready(packet_ready[SPATIAL_SCALE]),
        .packet(packets[64*SPATIAL_SCALE +: 64]),
        .in_valid(windows_valid), .in_ready(windows_ready), .in_data(windows),
        .to_other_valid(spatial_pointwise_valid), .to_other_ready(spatial_pointwise_ready),
        .to_store_valid(spatial_store_valid), .to_store_ready(spatial_store_ready), .out_data(from_spatial)
    );
    pointwise #(
        .LANES(LANES), .COLUMNS(COLUMNS), .SUM_BITS(SUM_BITS), .MAX_GROUPS(MAX_GROUPS), .WEIGHT_BLOCKS(WEIGHT_BLOCKS)
    ) pointwise_unit (
        .clk, .reset,
        .packet_valid(packet_valid[POINTWISE]), .packet_ready(packet_ready[POINTWISE]),
        .packet(packets[64*POINTWISE +: 64]),
        .weights_valid(packet_valid[WEIGHTS]), .weights_ready(packet_ready[WEIGHTS]),
        .weights_data(packets[64*WEIGHTS +: 64]),
        .features_valid(into_pointwise_valid), .features_ready(into_pointwise_ready), .features(arranged),
        .spatial_valid(spatial_pointwise_valid), .spatial_ready(spatial_pointwise_ready), .spatial(from_spatial),
        .out_valid(sums_valid), .out_ready(sums_ready), .out_data(sums)
    );
    requantise #(
        .LANES(LANES), .SCALE_LANES(SCALE_LANES), .GROUP(COLUMNS / LANES), .SUM_BITS(SUM_BITS), .MAX_PLANES(MAX_PLANES)
    ) pointwise_scale (
        .clk, .reset,
        .packet_valid(packet_valid[POINTWISE_SCALE]), .packet_ready(packet_ready[POINTWISE_SCALE]),
        .packet(packets[64*POINTWISE_SCALE +: 64]),
        .in_valid(sums_valid), .in_ready(sums_ready), .in_data(sums),
        .to_other_valid(pointwise_spatial_valid), .to_other_ready(pointwise_spatial_ready),
        .to_store_valid(pointwise_store_valid), .to_store_ready(pointwise_store_ready), .out_data(from_pointwise)
    );

    logic collected_valid, collected_ready;
    logic [VECTOR-1:0] collected;
    collect #(.LANES(LANES), .TILE_VECTORS(TILE_VECTORS)) collector (
        .clk, .reset,
        .packet_valid(packet_valid[COLLECT]), .packet_ready(packet_ready[COLLECT]), .packet(packets[64*COLLECT +: 64]),
        .spatial_valid(spatial_store_valid), .spatial_ready(spatial_store_ready), .spatial_data(from_spatial),
        .pointwise_valid(pointwise_store_valid), .pointwise_ready(pointwise_store_ready), .pointwise_data(from_pointwise),
        .out_valid(collected_valid), .out_ready(collected_ready), .out_data(collected)
    );
    store #(.LANES(LANES), .MAX_PLANES(MAX_PLANES), .AXI_BITS(AXI_BITS)) storer (
        .clk, .reset, .maps(results_at), .stored,
        .packet_valid(packet_valid[STORE]), .packet_ready(packet_ready[STORE]), .packet(packets[64*STORE +: 64]),
        .in_valid(collected_valid), .in_ready(collected_ready), .in_data(collected),
        .aw_valid(m_axi_results_awvalid), .aw_ready(m_axi_results_awready), .aw_address(m_axi_results_awaddr),
        .aw_len(m_axi_results_awlen), .w_valid(m_axi_results_wvalid), .w_ready(m_axi_results_wready),
        .w_data(m_axi_results_wdata), .w_last(m_axi_results_wlast),
        .b_valid(m_axi_results_bvalid), .b_ready(m_axi_results_bready)
    );

    assign m_axi_program_arsize = WORD_SIZE;
    assign m_axi_features_arsize = BEAT_SIZE;
    assign m_axi_dilations_arsize = BEAT_SIZE;
    assign m_axi_results_awsize = BEAT_SIZE;
    assign m_axi_program_arburst = INCREASING;
    assign m_axi_features_arburst = INCREASING;
    assign m_axi_dilations_arburst = INCREASING;
    assign m_axi_results_awburst = INCREASING;
    assign m_axi_results_wstrb = '1;
endmodule
