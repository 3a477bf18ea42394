// The 1x1 unit: takes pixels and weights, hands out the sums of COLUMNS channels at a time. Packets POINTWISE, WEIGHTS.
//
// Vectors wait in a ring until their pixel's last step, so the next pixel, or the next call's first one, comes in meanwhile.
module pointwise #(
    parameter int LANES         = 16,
    parameter int COLUMNS       = 16,
    parameter int SUM_BITS      = 24,
    parameter int MAX_GROUPS    = 256,
    parameter int WEIGHT_BLOCKS = 1024
) (
    input  logic                        clk,
    input  logic                        reset,
    input  logic                        packet_valid,
    output logic                        packet_ready,
    input  logic [63:0]                 packet,
    input  logic                        weights_valid,
    output logic                        weights_ready,
    input  logic [63:0]                 weights_data,
    input  logic                        features_valid,
    output logic                        features_ready,
    input  logic [8*LANES-1:0]          features,
    input  logic                        spatial_valid,
    output logic                        spatial_ready,
    input  logic [8*LANES-1:0]          spatial,
    output logic                        out_valid,
    input  logic                        out_ready,
    output logic [SUM_BITS*COLUMNS-1:0] out_data
);
    localparam int RING = 2 << $clog2(MAX_GROUPS);
    localparam int RING_BITS = $clog2(RING);
    localparam int BLOCK_BITS = $clog2(WEIGHT_BLOCKS);

    // The packet; then its vectors come in, while the call computes.
    enum logic [1:0] {HEAD, SIZE, TAKE, TAKEN} state;

    // `pending`: the call before still computes.
    logic from_spatial, halves_in, pending, unused_bits;
    logic [15:0] groups_in, outputs_in, group_in;
    logic [31:0] pixels_in, pixel_in;
    logic [RING_BITS:0] vectors, base;
    logic room, take;

    assign unused_bits = &{packet[0], packet[15:3], packet[63:48]};
    assign packet_ready = state == HEAD || state == SIZE;
    assign room = state == TAKE && (vectors - base) != (RING_BITS + 1)'(RING);
    assign spatial_ready = room && from_spatial;
    assign features_ready = room && !from_spatial;
    assign take = room && (from_spatial ? spatial_valid : features_valid);

    logic busy, halves, low;
    logic [15:0] groups, outputs, group, output_at;
    logic [31:0] pixels;

    always_ff @(posedge clk) begin
        case (state)
            HEAD: if (packet_valid) begin
                from_spatial <= packet[1];
                halves_in    <= packet[2];
                groups_in    <= packet[31:16];
                outputs_in   <= packet[47:32];
                state        <= SIZE;
            end
            SIZE: if (packet_valid) begin
                pixels_in <= packet[31:0];
                pixel_in  <= packet[31:0];
                group_in  <= '0;
                pending   <= 1'b1;
                state     <= TAKE;
            end
            TAKE: if (take) begin
                group_in <= group_in + 16'd1;
                vectors  <= vectors + 1'b1;
                if (group_in + 16'd1 == groups_in) begin
                    group_in <= '0;
                    pixel_in <= pixel_in - 32'd1;
                    if (pixel_in == 32'd1) state <= TAKEN;
                end
            end
            default: if (!pending) state <= HEAD;
        endcase
        if (pending && !busy) pending <= 1'b0;
        if (reset) begin
            state   <= HEAD;
            pending <= 1'b0;
            vectors <= '0;
        end
    end

    // Computing.
    logic step, last_group, last_output, last_step, emits, may_reserve, sums_valid;
    logic [RING_BITS:0] waiting;
    logic [BLOCK_BITS:0] written, first_block, at_block, blocks;
    logic [8*LANES-1:0] x;
    logic [4*LANES*COLUMNS-1:0] weights;
    logic [SUM_BITS*COLUMNS-1:0] sums;

    assign waiting = vectors - base;
    assign blocks = written - at_block;
    assign last_group = group + 16'd1 == groups;
    assign emits = last_group && (low || !halves);
    assign last_output = output_at + 16'd1 == outputs;
    assign last_step = emits && last_output;
    // Blocks that were written are those of this call in this order; only its first pixel waits for any.
    assign step = busy && 16'(waiting) > group && blocks != '0 && (!emits || may_reserve);

    always_ff @(posedge clk) begin
        if (step) begin
            group    <= last_group ? 16'd0 : group + 16'd1;
            at_block <= at_block + 1'b1;
            if (last_group) low <= halves && !low;
            if (emits) output_at <= last_output ? 16'd0 : output_at + 16'd1;
            if (last_step) begin
                base     <= base + (RING_BITS + 1)'(groups);
                pixels   <= pixels - 32'd1;
                at_block <= first_block;
                if (pixels == 32'd1) begin
                    busy        <= 1'b0;
                    at_block    <= at_block + 1'b1;
                    first_block <= at_block + 1'b1;
                end
            end
        end
        if (pending && !busy) begin
            busy      <= 1'b1;
            halves    <= halves_in;
            groups    <= groups_in;
            outputs   <= outputs_in;
            pixels    <= pixels_in;
            group     <= '0;
            output_at <= '0;
            low       <= 1'b0;
        end
        if (reset) begin
            busy        <= 1'b0;
            base        <= '0;
            at_block    <= '0;
            first_block <= '0;
        end
    end

    ram #(.WIDTH(8 * LANES), .DEPTH(RING)) ring (
        .clk,
        .write(take), .write_at(vectors[RING_BITS-1:0]), .write_data(from_spatial ? spatial : features),
        .read(1'b1), .read_at(base[RING_BITS-1:0] + RING_BITS'(group)), .read_data(x)
    );
    weight_ring #(.LANES(LANES), .COLUMNS(COLUMNS), .DEPTH(WEIGHT_BLOCKS)) blocks_of_weights (
        .clk, .reset,
        .in_valid(weights_valid), .in_ready(weights_ready), .in_data(weights_data), .written,
        .release_one(step && pixels == 32'd1), .read_at(at_block[BLOCK_BITS-1:0]), .read_data(weights)
    );
    pointwise_array #(.LANES(LANES), .COLUMNS(COLUMNS), .SUM_BITS(SUM_BITS)) array (
        .clk, .reset, .step, .first(group == '0), .low, .last(emits), .x, .weights,
        .out_valid(sums_valid), .out_data(sums)
    );
    outbox #(.WIDTH(SUM_BITS * COLUMNS), .DEPTH(32)) out (
        .clk, .reset, .may_reserve, .reserve(step && emits), .push(sums_valid), .push_data(sums),
        .out_valid, .out_ready, .out_data
    );
endmodule
