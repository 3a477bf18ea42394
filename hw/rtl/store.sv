// Results to memory, tile by tile and plane by plane. Packet STORE.
//
// `stored` comes when the memory has acknowledged the last burst of a call.
module store #(
    parameter int LANES       = 16,
    parameter int MAX_PLANES  = 144,
    parameter int AXI_BITS    = 64,
    parameter int OUTSTANDING = 8
) (
    input  logic                clk,
    input  logic                reset,
    input  logic [31:0]         maps,
    input  logic                packet_valid,
    output logic                packet_ready,
    input  logic [63:0]         packet,
    input  logic                in_valid,
    output logic                in_ready,
    input  logic [8*LANES-1:0]  in_data,
    output logic                aw_valid,
    input  logic                aw_ready,
    output logic [31:0]         aw_address,
    output logic [7:0]          aw_len,
    output logic                w_valid,
    input  logic                w_ready,
    output logic [AXI_BITS-1:0] w_data,
    output logic                w_last,
    input  logic                b_valid,
    output logic                b_ready,
    output logic                stored
);
    localparam int BEATS = 8 * LANES / AXI_BITS;
    localparam int PAIRS = (MAX_PLANES + 1) / 2;
    localparam int PLANE_BITS = $clog2(2 * PAIRS);

    enum logic [2:0] {HEAD, SIZE, TABLE, RUN, WAIT} state;

    logic [63:0] table_of_planes[PAIRS];
    logic [63:0] entries;
    logic [31:0] entry, left, done, address;
    logic [15:0] planes, tile, plane, pixels;
    logic [8:0]  beats;
    logic taken, idle, last_plane, unused_bits;

    assign unused_bits = &entry[3:0];
    assign packet_ready = state == HEAD || state == SIZE || state == TABLE;
    assign entries = table_of_planes[plane[PLANE_BITS-1:1]];
    assign entry = plane[0] ? entries[63:32] : entries[31:0];
    assign pixels = left > 32'(tile) ? tile : left[15:0];
    assign beats = 9'(pixels * 16'(BEATS));
    assign address = maps + {entry[31:4], 4'b0} + done * 32'(LANES);
    assign last_plane = plane + 16'd1 == planes;
    assign stored = state == WAIT && idle;

    always_ff @(posedge clk) begin
        case (state)
            HEAD: if (packet_valid) begin
                planes <= packet[31:16];
                tile   <= packet[47:32];
                plane  <= '0;
                state  <= SIZE;
            end
            SIZE: if (packet_valid) begin
                left  <= packet[31:0];
                done  <= '0;
                state <= TABLE;
            end
            TABLE: if (packet_valid) begin
                table_of_planes[plane[PLANE_BITS-1:1]] <= packet;
                plane <= plane + 16'd2;
                if (plane + 16'd2 >= planes) begin
                    plane <= '0;
                    state <= RUN;
                end
            end
            RUN: if (taken) begin
                plane <= last_plane ? 16'd0 : plane + 16'd1;
                if (last_plane) begin
                    done <= done + 32'(pixels);
                    left <= left - 32'(pixels);
                    if (left == 32'(pixels)) state <= WAIT;
                end
            end
            default: if (idle) state <= HEAD;
        endcase
        if (reset) state <= HEAD;
    end

    // A burst is asked for when its place among the lengths is free.
    logic split_valid, split_ready, len_ready, len_valid, len_taken;
    logic [7:0] len, sent;

    burst_split #(.BEAT_BYTES(AXI_BITS / 8), .OUTSTANDING(OUTSTANDING)) split (
        .clk, .reset,
        .in_valid(state == RUN), .in_ready(taken), .in_address(address), .in_beats(beats),
        .out_valid(split_valid), .out_ready(split_ready), .out_address(aw_address), .out_len(aw_len),
        .ended(b_valid), .idle
    );
    assign aw_valid = split_valid && len_ready;
    assign split_ready = aw_ready && len_ready;
    assign b_ready = 1'b1;

    fifo #(.WIDTH(8), .DEPTH(OUTSTANDING)) lengths (
        .clk, .reset,
        .in_valid(split_valid && aw_ready), .in_ready(len_ready), .in_data(aw_len),
        .out_valid(len_valid), .out_ready(len_taken), .out_data(len)
    );

    logic beat_valid, beat_taken;
    assign w_valid = beat_valid && len_valid;
    assign beat_taken = w_valid && w_ready;
    assign w_last = sent == len;
    assign len_taken = beat_taken && w_last;

    always_ff @(posedge clk) begin
        if (beat_taken) sent <= w_last ? '0 : sent + 8'd1;
        if (reset) sent <= '0;
    end

    // Vectors to beats.
    assign beat_valid = in_valid;
    if (BEATS == 1) begin : whole
        assign w_data = in_data;
        assign in_ready = beat_taken;
    end else begin : parts
        localparam int PART_BITS = $clog2(BEATS);
        logic [PART_BITS-1:0] part;

        assign w_data = AXI_BITS'(in_data >> (AXI_BITS * 32'(part)));
        assign in_ready = beat_taken && part == PART_BITS'(BEATS - 1);
        always_ff @(posedge clk) begin
            if (beat_taken) part <= part == PART_BITS'(BEATS - 1) ? '0 : part + 1'b1;
            if (reset) part <= '0;
        end
    end
endmodule
