// Requantisation (quant/INTEGER_NETWORKS.md): SCALE_LANES multipliers take LANES / SCALE_LANES cycles for a vector.
// Packets SPATIAL_SCALE, POINTWISE_SCALE.
//
// Multipliers and biases lie in a ring of planes; those of the next call come in while this one computes.
module requantise #(
    parameter int LANES       = 16,
    parameter int SCALE_LANES = 8,
    // Vectors that come as one.
    parameter int GROUP       = 1,
    parameter int SUM_BITS    = 24,
    parameter int MAX_PLANES  = 144
) (
    input  logic                            clk,
    input  logic                            reset,
    input  logic                            packet_valid,
    output logic                            packet_ready,
    input  logic [63:0]                     packet,
    input  logic                            in_valid,
    output logic                            in_ready,
    input  logic [GROUP*LANES*SUM_BITS-1:0] in_data,
    output logic                            to_other_valid,
    input  logic                            to_other_ready,
    output logic                            to_store_valid,
    input  logic                            to_store_ready,
    output logic [8*LANES-1:0]              out_data
);
    localparam int PARTS = LANES / SCALE_LANES;
    localparam int PART_BITS = PARTS == 1 ? 1 : $clog2(PARTS);
    localparam int PLANE_BITS = $clog2(MAX_PLANES);
    localparam int RING = 1 << PLANE_BITS;
    localparam int ROW_WORDS = SCALE_LANES / 4;
    localparam int ROWS = RING * PARTS;
    localparam int ROW_BITS = $clog2(ROWS);
    // From setting a part off to its bytes.
    localparam int LAG = 7;

    // The packet: numbers go into the ring, the rest waits while the call before computes (`pending`).
    enum logic [1:0] {HEAD, MORE, NUMBERS, THERE} state;

    logic [63:0] head, more;
    logic [15:0] planes_in;
    logic [PLANE_BITS:0] written, base;
    logic [7:0] word;
    logic [PART_BITS-1:0] row_in;
    logic bias_in, pending, room, number, row_ends, plane_ends, busy, unused_bits;
    logic [16*SCALE_LANES-1:0] row;

    assign unused_bits = &{head[0], head[15:2], more[63:48], more[7:5]};
    assign room = (written - base) != (PLANE_BITS + 1)'(RING);
    assign packet_ready = state == HEAD || state == MORE || (state == NUMBERS && room);
    assign number = state == NUMBERS && room && packet_valid;
    assign row_ends = number && word == 8'(ROW_WORDS - 1);
    assign plane_ends = row_ends && row_in == PART_BITS'(PARTS - 1) && bias_in;

    if (ROW_WORDS == 1) begin : one_word
        assign row = packet;
    end else begin : more_words
        logic [16*SCALE_LANES-65:0] earlier;
        assign row = {packet, earlier};
        always_ff @(posedge clk) if (number) earlier <= (16 * SCALE_LANES - 64)'({packet, earlier} >> 64);
    end

    always_ff @(posedge clk) begin
        case (state)
            HEAD: if (packet_valid) begin
                head  <= packet;
                state <= MORE;
            end
            MORE: if (packet_valid) begin
                more      <= packet;
                planes_in <= head[31:16];
                word      <= '0;
                row_in    <= '0;
                bias_in   <= 1'b0;
                pending   <= 1'b1;
                state     <= NUMBERS;
            end
            NUMBERS: if (number) begin
                word <= row_ends ? 8'd0 : word + 8'd1;
                if (row_ends) row_in <= row_in == PART_BITS'(PARTS - 1) ? '0 : row_in + 1'b1;
                if (row_ends && row_in == PART_BITS'(PARTS - 1)) bias_in <= !bias_in;
                if (plane_ends) begin
                    written   <= written + 1'b1;
                    planes_in <= planes_in - 16'd1;
                    if (planes_in == 16'd1) state <= THERE;
                end
            end
            default: if (!pending) state <= HEAD;
        endcase
        if (pending && !busy) pending <= 1'b0;
        if (reset) begin
            state   <= HEAD;
            pending <= 1'b0;
            written <= '0;
        end
    end

    // Computing.
    localparam int SLICES = GROUP * PARTS;
    localparam int SLICE_BITS = SLICES == 1 ? 1 : $clog2(SLICES);

    logic to_store, keep, issue, last_part, last_plane, may_reserve;
    logic [15:0] planes, kept, plane;
    logic [31:0] vectors;
    logic [4:0] shift;
    logic [7:0] offset, low, high;
    logic [SLICE_BITS-1:0] slice;
    logic [PART_BITS-1:0] part;
    logic [PLANE_BITS:0] there;
    logic [SCALE_LANES*SUM_BITS-1:0] sums;
    logic [16*SCALE_LANES-1:0] multipliers, biases;
    logic [8*SCALE_LANES-1:0] bytes;
    logic [LAG-1:0] valids, lasts;
    logic [ROW_BITS-1:0] write_row, read_row;

    assign there = written - base;
    assign keep = plane < kept;
    assign last_part = part == PART_BITS'(PARTS - 1);
    assign last_plane = plane + 16'd1 == planes;
    assign issue = busy && vectors != '0 && in_valid && 16'(there) > plane && (!keep || !last_part || may_reserve);
    assign in_ready = issue && slice == SLICE_BITS'(SLICES - 1);
    if (PARTS == 1) begin : whole_rows
        assign write_row = written[PLANE_BITS-1:0];
        assign read_row = base[PLANE_BITS-1:0] + PLANE_BITS'(plane);
    end else begin : rows_of_parts
        logic [PLANE_BITS-1:0] at;
        assign at = base[PLANE_BITS-1:0] + PLANE_BITS'(plane);
        assign write_row = {written[PLANE_BITS-1:0], row_in};
        assign read_row = {at, part};
    end

    always_ff @(posedge clk) begin
        if (issue) begin
            slice <= slice == SLICE_BITS'(SLICES - 1) ? '0 : slice + 1'b1;
            part  <= last_part ? '0 : part + 1'b1;
            if (last_part) begin
                plane   <= last_plane ? 16'd0 : plane + 16'd1;
                vectors <= vectors - 32'd1;
            end
        end
        // Constants of the call stay until its last vector has passed them.
        if (busy && vectors == '0 && valids == '0) begin
            busy <= 1'b0;
            base <= base + (PLANE_BITS + 1)'(planes);
        end
        if (pending && !busy) begin
            busy     <= 1'b1;
            to_store <= head[1];
            planes   <= head[31:16];
            vectors  <= head[63:32];
            shift    <= more[4:0];
            offset   <= more[15:8];
            low      <= more[23:16];
            high     <= more[31:24];
            kept     <= more[47:32];
            plane    <= '0;
            part     <= '0;
            slice    <= '0;
        end
        if (reset) begin
            busy <= 1'b0;
            base <= '0;
        end
    end

    ram #(.WIDTH(16 * SCALE_LANES), .DEPTH(ROWS)) multiplier_ring (
        .clk, .write(row_ends && !bias_in), .write_at(write_row), .write_data(row),
        .read(1'b1), .read_at(read_row), .read_data(multipliers)
    );
    ram #(.WIDTH(16 * SCALE_LANES), .DEPTH(ROWS)) bias_ring (
        .clk, .write(row_ends && bias_in), .write_at(write_row), .write_data(row),
        .read(1'b1), .read_at(read_row), .read_data(biases)
    );

    always_ff @(posedge clk) begin
        sums   <= in_data[32'(slice)*SCALE_LANES*SUM_BITS +: SCALE_LANES*SUM_BITS];
        valids <= {valids[LAG-2:0], issue};
        lasts  <= {lasts[LAG-2:0], last_part && keep};
        if (reset) valids <= '0;
    end

    for (genvar lane = 0; lane < SCALE_LANES; lane++) begin : lanes
        scale_lane #(.SUM_BITS(SUM_BITS)) scale (
            .clk, .sum(sums[SUM_BITS*lane +: SUM_BITS]), .multiplier(multipliers[16*lane +: 16]),
            .bias(biases[16*lane +: 16]), .shift, .offset, .low, .high, .result(bytes[8*lane +: 8])
        );
    end

    // Parts to vectors.
    logic [8*LANES-1:0] vector;
    if (PARTS == 1) begin : no_parts
        assign vector = bytes;
    end else begin : parts
        logic [8*(LANES-SCALE_LANES)-1:0] earlier;
        assign vector = {bytes, earlier};
        always_ff @(posedge clk)
            if (valids[LAG-1]) earlier <= (8 * (LANES - SCALE_LANES))'(vector >> (8 * SCALE_LANES));
    end

    logic out_valid, out_ready, out_store;
    outbox #(.WIDTH(8 * LANES + 1)) out (
        .clk, .reset, .may_reserve, .reserve(issue && keep && last_part),
        .push(valids[LAG-1] && lasts[LAG-1]), .push_data({to_store, vector}),
        .out_valid, .out_ready, .out_data({out_store, out_data})
    );
    assign to_store_valid = out_valid && out_store;
    assign to_other_valid = out_valid && !out_store;
    assign out_ready = out_store ? to_store_ready : to_other_ready;
endmodule
