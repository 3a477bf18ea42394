// The end of a pipeline that never stops: whoever sets off a result reserves its place in the FIFO first.
module outbox #(
    parameter int WIDTH = 8,
    parameter int DEPTH = 32
) (
    input  logic             clk,
    input  logic             reset,
    output logic             may_reserve,
    input  logic             reserve,
    input  logic             push,
    input  logic [WIDTH-1:0] push_data,
    output logic             out_valid,
    input  logic             out_ready,
    output logic [WIDTH-1:0] out_data
);
    logic [$clog2(DEPTH):0] free;
    logic                   unused_ready;

    assign may_reserve = free != '0;

    fifo #(.WIDTH(WIDTH), .DEPTH(DEPTH)) places (
        .clk, .reset,
        .in_valid(push), .in_ready(unused_ready), .in_data(push_data),
        .out_valid, .out_ready, .out_data
    );

    always_ff @(posedge clk) begin
        case ({reserve, out_valid && out_ready})
            2'b10: free <= free - 1'b1;
            2'b01: free <= free + 1'b1;
            default: ;
        endcase
        if (reset) free <= ($clog2(DEPTH) + 1)'(DEPTH);
    end
endmodule
