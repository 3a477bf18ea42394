// The weights of the 1x1 array: a ring of blocks. While one call computes, the next one's fill what it does not use.
//
// Lane i is read i cycles after lane 0, as `two_products` has it.
module weight_ring #(
    parameter int LANES   = 16,
    parameter int COLUMNS = 16,
    parameter int DEPTH   = 1024
) (
    input  logic                       clk,
    input  logic                       reset,
    input  logic                       in_valid,
    output logic                       in_ready,
    input  logic [63:0]                in_data,
    // Blocks written since the reset, modulo twice the depth.
    output logic [$clog2(DEPTH):0]     written,
    // One block less is needed from now on.
    input  logic                       release_one,
    input  logic [$clog2(DEPTH)-1:0]   read_at,
    output logic [4*LANES*COLUMNS-1:0] read_data
);
    localparam int BITS = $clog2(DEPTH);
    localparam int ROW_BITS = 4 * LANES;
    localparam int PAIRS = COLUMNS / 2;
    localparam int LAG = LANES + 2;

    logic [BITS:0] freed;
    logic [LAG-1:0] released;
    logic [2*ROW_BITS-1:0] pair_rows;
    logic pair_there;
    logic [PAIRS-1:0] column, write;
    logic [BITS-1:0] write_at;
    logic [8*LANES-1:0] pairs;

    assign in_ready = (written - freed) != (BITS + 1)'(DEPTH);
    assign write = pair_there ? column : '0;

    // Words to rows of two columns.
    if (ROW_BITS <= 64) begin : narrow
        logic odd;
        logic [ROW_BITS-1:0] first;

        if (ROW_BITS < 64) begin : half
            logic unused_bits;
            assign unused_bits = &in_data[63:ROW_BITS];
        end
        always_ff @(posedge clk) begin
            pair_there <= in_valid && in_ready && odd;
            pair_rows  <= {in_data[ROW_BITS-1:0], first};
            if (in_valid && in_ready) begin
                odd   <= !odd;
                first <= in_data[ROW_BITS-1:0];
            end
            if (reset) begin
                odd        <= 1'b0;
                pair_there <= 1'b0;
            end
        end
    end else begin : wide
        logic [1:0] pending;

        always_ff @(posedge clk) begin
            pair_there <= in_valid && in_ready && pending == 2'd3;
            if (in_valid && in_ready) begin
                pending   <= pending + 2'd1;
                pair_rows <= {in_data, pair_rows[2*ROW_BITS-1:64]};
            end
            if (reset) begin
                pending    <= '0;
                pair_there <= 1'b0;
            end
        end
    end

    for (genvar lane = 0; lane < LANES; lane++) begin : to_lanes
        assign pairs[8*lane +: 8] = {pair_rows[ROW_BITS+4*lane +: 4], pair_rows[4*lane +: 4]};
    end

    // A word may come in while the block before its own is being completed, so the place is counted where it is written.
    always_ff @(posedge clk) begin
        released <= {released[LAG-2:0], release_one};
        if (released[LAG-1]) freed <= freed + 1'b1;
        if (pair_there) begin
            column <= {column[PAIRS-2:0], column[PAIRS-1]};
            if (column[PAIRS-1]) write_at <= write_at + 1'b1;
        end
        if (pair_there && column[PAIRS-1]) written <= written + 1'b1;
        if (reset) begin
            written  <= '0;
            freed    <= '0;
            released <= '0;
            column   <= PAIRS'(1);
            write_at <= '0;
        end
    end

    logic [BITS-1:0] lane_at[LANES];
    assign lane_at[0] = read_at;
    for (genvar lane = 0; lane < LANES; lane++) begin : memories
        if (lane > 0) begin : later
            logic [BITS-1:0] at;
            always_ff @(posedge clk) at <= lane_at[lane-1];
            assign lane_at[lane] = at;
        end
        weight_memory #(.COLUMNS(COLUMNS), .DEPTH(DEPTH)) memory (
            .clk, .write, .write_at, .write_data(pairs[8*lane +: 8]),
            .read_at(lane_at[lane]), .read_data(read_data[4*COLUMNS*lane +: 4*COLUMNS])
        );
    end
endmodule
