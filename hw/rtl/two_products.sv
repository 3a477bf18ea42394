// LANES products of a byte with each of two weights, two products to a DSP48E1, summed along its cascade.
//
// (w1 << 17) + w0 times x: a product of int8 and a 5-bit weight has 12 bits, so 32 of them stay within the 17 bits that are
// w0's. What w0's sum borrows from w1's is its sign, which is added back once. Lane i works i cycles after lane 0, so its
// operands have to come that much later; the sums are there LANES + 4 cycles after the operands of lane 0.
module two_products #(
    parameter int LANES    = 16,
    parameter int SUM_BITS = 24
) (
    input  logic                       clk,
    input  logic [8*LANES-1:0]         x,
    // For each lane the weight of the first column in the low four bits, that of the second above.
    input  logic [8*LANES-1:0]         weights,
    input  logic [LANES-1:0]           is_signed,
    output logic signed [SUM_BITS-1:0] sum0,
    output logic signed [SUM_BITS-1:0] sum1
);
    logic signed [47:0] cascade[LANES+1];
    assign cascade[0] = '0;

    for (genvar lane = 0; lane < LANES; lane++) begin : dsp
        logic signed [24:0] high, low, both;
        logic signed [7:0]  byte_in, byte_at;
        logic signed [32:0] product;
        logic signed [47:0] result;

        always_ff @(posedge clk) begin
            high    <= 25'($signed({weights[8*lane+7] && is_signed[lane], weights[8*lane+4 +: 4], 17'b0}));
            low     <= 25'($signed({weights[8*lane+3] && is_signed[lane], weights[8*lane +: 4]}));
            byte_in <= x[8*lane +: 8];
            both    <= high + low;
            byte_at <= byte_in;
            product <= both * byte_at;
            result  <= cascade[lane] + 48'(product);
        end
        assign cascade[lane+1] = result;
    end

    always_ff @(posedge clk) begin
        sum0 <= SUM_BITS'($signed(cascade[LANES][16:0]));
        sum1 <= SUM_BITS'($signed(cascade[LANES][47:17])) + SUM_BITS'(cascade[LANES][16]);
    end
endmodule
