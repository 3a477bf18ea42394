// The 1x1 array: LANES inputs times COLUMNS outputs a cycle, and the sums over the vectors of a pixel.
//
// A step's vector comes a cycle after it is set off, and the weights of lane i come i cycles after that.
// 8-bit weights are two passes over the same pixel: the signed high halves, times 16, then the unsigned low halves.
module pointwise_array #(
    parameter int LANES    = 16,
    parameter int COLUMNS  = 16,
    parameter int SUM_BITS = 24
) (
    input  logic                        clk,
    input  logic                        reset,
    input  logic                        step,
    // Of the step: first of a half, half of the low bits, last one, whose sums are wanted.
    input  logic                        first,
    input  logic                        low,
    input  logic                        last,
    input  logic [8*LANES-1:0]          x,
    input  logic [4*LANES*COLUMNS-1:0]  weights,
    output logic                        out_valid,
    output logic [SUM_BITS*COLUMNS-1:0] out_data
);
    // From setting a step off to its sums at the accumulators.
    localparam int LAG = LANES + 5;

    logic [LAG-1:0] valids, firsts, lows, lasts;
    logic [LANES-1:0] is_signed;
    logic [8*LANES-1:0] later;

    assign is_signed = ~lows[LANES-1:0];

    for (genvar lane = 0; lane < LANES; lane++) begin : skew
        if (lane == 0) begin : none
            assign later[7:0] = x[7:0];
        end else begin : some
            logic [7:0] delayed[lane];
            for (genvar stage = 0; stage < lane; stage++) begin : stages
                if (stage == 0) begin : from_input
                    always_ff @(posedge clk) delayed[0] <= x[8*lane +: 8];
                end else begin : from_stage
                    always_ff @(posedge clk) delayed[stage] <= delayed[stage-1];
                end
            end
            assign later[8*lane +: 8] = delayed[lane-1];
        end
    end

    for (genvar pair = 0; pair < COLUMNS / 2; pair++) begin : pairs
        logic [8*LANES-1:0] mine;
        logic signed [SUM_BITS-1:0] add0, add1, sum0, sum1;

        for (genvar lane = 0; lane < LANES; lane++) begin : lanes
            assign mine[8*lane +: 8] = weights[4*COLUMNS*lane+8*pair +: 8];
        end
        two_products #(.LANES(LANES), .SUM_BITS(SUM_BITS)) products (
            .clk, .x(later), .weights(mine), .is_signed, .sum0(add0), .sum1(add1)
        );
        always_ff @(posedge clk) begin
            if (valids[LAG-1]) begin
                sum0 <= (!firsts[LAG-1] ? sum0 : lows[LAG-1] ? sum0 <<< 4 : '0) + add0;
                sum1 <= (!firsts[LAG-1] ? sum1 : lows[LAG-1] ? sum1 <<< 4 : '0) + add1;
            end
        end
        assign out_data[2*SUM_BITS*pair +: 2*SUM_BITS] = {sum1, sum0};
    end

    always_ff @(posedge clk) begin
        valids    <= {valids[LAG-2:0], step};
        firsts    <= {firsts[LAG-2:0], first};
        lows      <= {lows[LAG-2:0], low};
        lasts     <= {lasts[LAG-2:0], last};
        out_valid <= valids[LAG-1] && lasts[LAG-1];
        if (reset) begin
            valids    <= '0;
            out_valid <= 1'b0;
        end
    end
endmodule
