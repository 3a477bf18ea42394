// Feature maps from memory, tile by tile and plane by plane, at most `tile` pixels of one row at once.
//
// Packet LOAD. A call's reads begin when all calls but the `ahead` before it have stored their results; those of the next
// call are asked for while these still arrive.
module load #(
    parameter int LANES       = 16,
    parameter int MAX_PLANES  = 144,
    parameter int AXI_BITS    = 64,
    parameter int OUTSTANDING = 8
) (
    input  logic                clk,
    input  logic                reset,
    // The first call of a program comes next.
    input  logic                start,
    input  logic [31:0]         maps,
    input  logic                packet_valid,
    output logic                packet_ready,
    input  logic [63:0]         packet,
    // The results of one more call are in memory.
    input  logic                stored,
    // The dilations of this call may be read.
    output logic                may_valid,
    input  logic                may_ready,
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
    output logic [8*LANES-1:0]  out_data
);
    localparam int BEATS = 8 * LANES / AXI_BITS;
    localparam int PAIRS = (MAX_PLANES + 1) / 2;
    localparam int PLANE_BITS = $clog2(2 * PAIRS);

    enum logic [2:0] {HEAD, SIZE, TABLE, WAIT, MAY, RUN} state;

    logic [63:0] table_of_planes[PAIRS];
    logic [63:0] entries;
    logic [31:0] entry;
    logic dilation;
    logic [15:0] planes, tile, ahead, plane, pixels;
    logic [31:0] rows, width, left, begun, finished;
    // Pixels before the tile, where each is there once and where each stands for two by two.
    logic [31:0] row_full, row_half, at_full, at_half;
    logic odd_row, last_plane, last_tile, command, taken, unused_idle, unused_bits;
    logic [8:0] beats;
    logic [31:0] address;

    assign unused_bits = &entry[3:1];
    assign packet_ready = state == HEAD || state == SIZE || state == TABLE;
    assign may_valid = state == MAY;
    assign command = state == RUN;

    assign entries = table_of_planes[plane[PLANE_BITS-1:1]];
    assign entry = plane[0] ? entries[63:32] : entries[31:0];
    assign pixels = left > 32'(tile) ? tile : left[15:0];
    assign beats = 9'((entry[0] ? pixels >> 1 : pixels) * 16'(BEATS));
    assign address = maps + {entry[31:4], 4'b0} + (entry[0] ? at_half : at_full) * 32'(LANES);
    assign last_plane = plane + 16'd1 == planes;
    assign last_tile = left == 32'(pixels);

    burst_split #(.BEAT_BYTES(AXI_BITS / 8), .OUTSTANDING(OUTSTANDING)) split (
        .clk, .reset,
        .in_valid(command), .in_ready(taken), .in_address(address), .in_beats(beats),
        .out_valid(ar_valid), .out_ready(ar_ready), .out_address(ar_address), .out_len(ar_len),
        .ended(r_valid && r_ready && r_last), .idle(unused_idle)
    );

    always_ff @(posedge clk) begin
        if (stored) finished <= finished + 32'd1;
        case (state)
            HEAD: if (packet_valid) begin
                dilation <= packet[1];
                planes   <= packet[31:16];
                tile     <= packet[47:32];
                ahead    <= packet[63:48];
                state    <= SIZE;
            end
            SIZE: if (packet_valid) begin
                rows  <= packet[31:0];
                width <= packet[63:32];
                plane <= '0;
                state <= TABLE;
            end
            TABLE: if (packet_valid) begin
                table_of_planes[plane[PLANE_BITS-1:1]] <= packet;
                plane <= plane + 16'd2;
                if (plane + 16'd2 >= planes) state <= WAIT;
            end
            WAIT: begin
                plane    <= '0;
                left     <= width;
                row_full <= '0;
                row_half <= '0;
                at_full  <= '0;
                at_half  <= '0;
                odd_row  <= 1'b0;
                if (finished + 32'(ahead) >= begun) begin
                    begun <= begun + 32'd1;
                    state <= dilation ? MAY : RUN;
                end
            end
            MAY: if (may_ready) state <= RUN;
            default: if (taken) begin
                plane <= last_plane ? 16'd0 : plane + 16'd1;
                if (last_plane) begin
                    left    <= left - 32'(pixels);
                    at_full <= at_full + 32'(pixels);
                    at_half <= at_half + (32'(pixels) >> 1);
                    if (last_tile) begin
                        left     <= width;
                        row_full <= row_full + width;
                        at_full  <= row_full + width;
                        odd_row  <= !odd_row;
                        at_half  <= row_half + (odd_row ? width >> 1 : 32'd0);
                        row_half <= row_half + (odd_row ? width >> 1 : 32'd0);
                        rows     <= rows - 32'd1;
                        if (rows == 32'd1) state <= HEAD;
                    end
                end
            end
        endcase
        if (reset || start) begin
            begun    <= '0;
            finished <= '0;
        end
        if (reset) state <= HEAD;
    end

    // Beats to vectors.
    if (BEATS == 1) begin : whole
        assign out_valid = r_valid;
        assign out_data = r_data;
        assign r_ready = out_ready;
    end else begin : parts
        localparam int PART_BITS = $clog2(BEATS);
        logic [PART_BITS-1:0] part;
        logic [8*LANES-AXI_BITS-1:0] earlier;
        logic last;

        assign last = part == PART_BITS'(BEATS - 1);
        assign out_valid = r_valid && last;
        assign out_data = {r_data, earlier};
        assign r_ready = out_ready || !last;
        always_ff @(posedge clk) begin
            if (r_valid && r_ready) begin
                part   <= last ? '0 : part + 1'b1;
                earlier <= (8 * LANES - AXI_BITS)'({r_data, earlier} >> AXI_BITS);
            end
            if (reset) part <= '0;
        end
    end
endmodule
