// One multiplier of a requantiser: clamp(((P multiplier + floor(2^shift / 2)) >> shift) + bias - offset, low, high).
// The result is there six cycles after the operands.
module scale_lane #(
    parameter int SUM_BITS = 24
) (
    input  logic                       clk,
    input  logic signed [SUM_BITS-1:0] sum,
    input  logic signed [15:0]         multiplier,
    input  logic signed [15:0]         bias,
    input  logic [4:0]                 shift,
    input  logic [7:0]                 offset,
    input  logic signed [7:0]          low,
    input  logic signed [7:0]          high,
    output logic signed [7:0]          result
);
    // A product and half of 2^31 fit one bit more than the product.
    localparam int WIDE = SUM_BITS + 17;

    logic signed [SUM_BITS-1:0]  sum_in;
    logic signed [15:0]          multiplier_in, bias_in, bias_product, bias_rounded;
    logic signed [SUM_BITS+15:0] product;
    logic signed [WIDE-1:0]      rounded, half, shifted, wanted;
    logic signed [16:0]          add;

    assign half = WIDE'((64'd1 << shift) >> 1);

    always_ff @(posedge clk) begin
        sum_in        <= sum;
        multiplier_in <= multiplier;
        bias_in       <= bias;
        product       <= sum_in * multiplier_in;
        bias_product  <= bias_in;
        rounded       <= WIDE'(product) + half;
        bias_rounded  <= bias_product;
        shifted       <= rounded >>> shift;
        add           <= 17'(bias_rounded) - $signed({9'b0, offset});
        wanted        <= shifted + WIDE'(add);
        result        <= wanted < WIDE'(low) ? low : wanted > WIDE'(high) ? high : wanted[7:0];
    end
endmodule
