// One channel of the 3x3 unit: three samples a cycle, a column of the window, and their kernel; mode as in hw/PROGRAM.md.
// A sum is there six cycles after its last column.
module window_lane #(
    parameter int SUM_BITS = 24
) (
    input  logic                       clk,
    input  logic [23:0]                samples,
    input  logic [23:0]                kernel,
    input  logic [1:0]                 mode,
    // With the samples: the one wanted in mode 2. Five cycles later: whether there is a column, and whether it is the first.
    input  logic [1:0]                 tap,
    input  logic                       valid,
    input  logic                       first,
    output logic signed [SUM_BITS-1:0] sum
);
    // The three products of a column, summed along the cascade of three DSP48E1.
    logic signed [7:0]  x0, x1, x1_late, x2, x2_late, x2_later;
    logic signed [7:0]  k0, k1, k1_late, k2, k2_late, k2_later;
    logic signed [15:0] product0, product1, product2;
    logic signed [19:0] result0, result1, result2;
    // The same way for what needs no products.
    logic signed [7:0] above, below, wanted, other[4];
    logic signed [19:0] column;

    assign column = mode == 2'd0 ? result2 : 20'(other[3]);

    always_ff @(posedge clk) begin
        x0       <= samples[7:0];
        x1       <= samples[15:8];
        x1_late  <= x1;
        x2       <= samples[23:16];
        x2_late  <= x2;
        x2_later <= x2_late;
        k0       <= kernel[7:0];
        k1       <= kernel[15:8];
        k1_late  <= k1;
        k2       <= kernel[23:16];
        k2_late  <= k2;
        k2_later <= k2_late;
        product0 <= x0 * k0;
        product1 <= x1_late * k1_late;
        product2 <= x2_later * k2_later;
        result0  <= 20'(product0);
        result1  <= result0 + 20'(product1);
        result2  <= result1 + 20'(product2);

        above    <= $signed(samples[7:0]) > $signed(samples[15:8]) ? samples[7:0] : samples[15:8];
        below    <= samples[23:16];
        wanted   <= samples[8*tap +: 8];
        other[0] <= mode == 2'd2 ? wanted : above > below ? above : below;
        other[1] <= other[0];
        other[2] <= other[1];
        other[3] <= other[2];
        if (valid) begin
            if (first || mode == 2'd2) sum <= SUM_BITS'(column);
            else if (mode == 2'd0) sum <= sum + SUM_BITS'(column);
            else sum <= SUM_BITS'(column) > sum ? SUM_BITS'(column) : sum;
        end
    end
endmodule
