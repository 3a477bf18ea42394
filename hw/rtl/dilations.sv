// The dilation of every output pixel: one lane of one plane. Packet DILATION.
module dilations #(
    parameter int LANES       = 16,
    parameter int AXI_BITS    = 64,
    parameter int OUTSTANDING = 2
) (
    input  logic                clk,
    input  logic                reset,
    input  logic [31:0]         maps,
    input  logic                packet_valid,
    output logic                packet_ready,
    input  logic [63:0]         packet,
    input  logic                may_valid,
    output logic                may_ready,
    output logic                ar_valid,
    input  logic                ar_ready,
    output logic [31:0]         ar_address,
    output logic [7:0]          ar_len,
    input  logic                r_valid,
    output logic                r_ready,
    input  logic [AXI_BITS-1:0] r_data,
    input  logic                r_last,
    output logic                out_valid,
    input  logic                out_ready,
    output logic [7:0]          out_data
);
    localparam int BEATS = 8 * LANES / AXI_BITS;
    localparam int LANE_BITS = $clog2(LANES);
    localparam int BEAT_BYTES = AXI_BITS / 8;

    enum logic [1:0] {HEAD, WHERE, WAIT, RUN} state;

    logic [LANE_BITS-1:0] lane, beat_first;
    logic [8:0]           burst;
    logic [31:0]          pixels, address, left;
    logic                 may_start, beat_valid, beat_ready, wanted, unused_head;
    logic [AXI_BITS-1:0]  beat;

    assign unused_head = &{packet[7:0], packet[31:16], packet[63:41]};
    assign packet_ready = state == HEAD || state == WHERE;
    assign may_ready = state == WAIT && may_start;

    linear_reader #(.DATA_BITS(AXI_BITS), .OUTSTANDING(OUTSTANDING)) reader (
        .clk, .reset,
        .start(may_valid && may_ready), .may_start,
        .start_address(address), .start_beats(pixels * 32'(BEATS)), .burst,
        .ar_valid, .ar_ready, .ar_address, .ar_len, .r_valid, .r_ready, .r_data, .r_last,
        .out_valid(beat_valid), .out_ready(beat_ready), .out_data(beat)
    );

    assign wanted = lane >= beat_first && 32'(lane) < 32'(beat_first) + BEAT_BYTES;
    assign out_valid = beat_valid && wanted;
    assign out_data = 8'(beat >> (8 * (32'(lane) % BEAT_BYTES)));
    assign beat_ready = out_ready || !wanted;

    always_ff @(posedge clk) begin
        case (state)
            HEAD: if (packet_valid) begin
                lane  <= packet[8 +: LANE_BITS];
                burst <= 9'(packet[40:32] * 9'(BEATS));
                state <= WHERE;
            end
            WHERE: if (packet_valid) begin
                pixels  <= packet[31:0];
                address <= maps + {packet[63:36], 4'b0};
                state   <= WAIT;
            end
            WAIT: if (may_valid && may_ready) begin
                left       <= pixels * 32'(BEATS);
                beat_first <= '0;
                state      <= RUN;
            end
            default: if (beat_valid && beat_ready) begin
                beat_first <= beat_first + LANE_BITS'(BEAT_BYTES);
                left       <= left - 32'd1;
                if (left == 32'd1) state <= HEAD;
            end
        endcase
        if (reset) state <= HEAD;
    end
endmodule
